"""Activation checkpointing (``torch.utils.checkpoint``) runs a training pass once more, in the backward pass."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


def is_repetition() -> bool:
    """Whether the forward pass that asks is run by a backward pass, so that it repeats an earlier one."""
    # As torch.utils.checkpoint itself asks which backward pass is running.
    return torch._C._current_graph_task_id() != -1


@contextmanager
def statistics_once(*norms: nn.Module) -> Iterator[None]:
    """In a repetition, norms work as always but do not move their running statistics by the same batch again."""
    tracking = [norm for norm in norms if isinstance(norm, _NormBase) and norm.running_mean is not None]
    before = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in tracking] if is_repetition() else []
    for norm, _, _ in before:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, batches in before:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)
