"""Activation checkpointing (``torch.utils.checkpoint``) runs a training pass once more, in the backward pass."""

from __future__ import annotations

import torch


def is_repetition() -> bool:
    """Whether the forward pass that asks is run by a backward pass, so that it repeats an earlier one."""
    # As torch.utils.checkpoint itself asks which backward pass is running.
    return torch._C._current_graph_task_id() != -1
