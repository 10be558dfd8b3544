"""Mixed precision in UDL: what the ``amp`` of the optimizer wrapper asks for, and autocast around a forward."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator

import torch
from mmengine.runner.amp import autocast
from torch import Tensor, nn


def read_amp(amp: dict | None) -> tuple[torch.dtype | None, Any, float | None]:
    """Autocast dtype, loss scaler and fixed loss scale from the ``amp`` argument of :class:`UDLOptimWrapper`.

    Each is None where there is none.

    Raises:
        ValueError: An entry is not known, or float16 is asked for without CUDA.
    """
    if amp is None:
        return None, None, None
    config = dict(amp)
    dtype, loss_scale = config.pop('dtype', 'bfloat16'), config.pop('loss_scale', 'dynamic')
    if config or dtype not in ('bfloat16', 'float16'):
        raise ValueError(
            f"amp is {amp}, expected dict(dtype='bfloat16' or 'float16', loss_scale='dynamic' or a number "
            'or a dict of GradScaler arguments)'
        )
    if dtype == 'bfloat16':
        return torch.bfloat16, None, None
    if not torch.cuda.is_available():
        raise ValueError("amp.dtype is 'float16', which needs CUDA, and there is none; use 'bfloat16'")
    arguments, fixed = {}, None
    if isinstance(loss_scale, dict):
        arguments = loss_scale
    elif loss_scale != 'dynamic':
        fixed = float(loss_scale)
        arguments = dict(init_scale=fixed)
    # torch before 2.3 has no device-independent scaler.
    scaler = (
        torch.amp.GradScaler('cuda', **arguments)
        if hasattr(torch.amp, 'GradScaler')
        else torch.cuda.amp.GradScaler(**arguments)
    )
    return torch.float16, scaler, fixed


@contextmanager
def mixed_precision(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Autocast for one forward of a bare model, its classification scores in float32.

    MMAction2's heads hand the scores to numpy for the training accuracy, and numpy has no bfloat16.

    Args:
        model: The bare model.
        dtype: Lower precision.
    """
    head = getattr(model, 'cls_head', None)
    hook = None if head is None else head.register_forward_hook(lambda module, inputs, out: _float32(out))
    try:
        with autocast(dtype=dtype):
            yield
    finally:
        if hook is not None:
            hook.remove()


def _float32(scores: Any) -> Any:
    if isinstance(scores, Tensor):
        return scores.float() if scores.is_floating_point() else scores
    return type(scores)(map(_float32, scores)) if type(scores) in (list, tuple) else scores
