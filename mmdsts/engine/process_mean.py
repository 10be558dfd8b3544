"""Means over the processes of a distributed run."""

from __future__ import annotations

from typing import Callable

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor


def over_processes() -> Callable[[dict[str, Tensor]], dict[str, Tensor]] | None:
    """Averages tensors over processes, or None in a single one (see ``reduce`` of :func:`upstream_gradient`)."""
    return None if get_world_size() == 1 else _mean_over_processes


def _mean_over_processes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """One all-reduce for each dtype, of all tensors in a row."""
    result = dict(tensors)
    for dtype in dict.fromkeys(t.dtype for t in tensors.values()):
        names = [name for name, t in tensors.items() if t.dtype == dtype]
        flat = torch.cat([tensors[name].reshape(-1) for name in names])
        all_reduce(flat, op='mean')
        for name, part in zip(names, flat.split([tensors[name].numel() for name in names])):
            result[name] = part.view_as(tensors[name])
    return result
