"""What decides stays in single precision when a model is put into half precision (METHOD 1.1)."""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor


def at_least_single(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """What ``fn`` does to a tensor, but floats that it would make narrower than float32 become float32.

    For the ``_apply`` of a module, through which ``half``, ``bfloat16`` and ``to`` go. Differences between pulses, and
    still more their variances, are far smaller than what half precision resolves beside their mean.
    """

    def careful(t: Tensor) -> Tensor:
        out = fn(t)
        if not out.is_floating_point() or torch.promote_types(out.dtype, torch.float32) == out.dtype:
            return out
        return t.to(device=out.device, dtype=torch.promote_types(t.dtype, torch.float32))

    return careful
