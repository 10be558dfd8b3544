"""Batch norm in forward mode, as one fused kernel."""
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode


class SymmetricBatchNorm(TorchFunctionMode):
    """Within it, batch norm over a batch's own statistics answers to tangents by the kernel of its backward pass.

    With ``x^`` the normalised input, ``n`` the entries of a channel and ``s`` its inverse deviation, the Jacobian
    towards the input is ``weight s (I - 1 1^T / n - x^ x^^T / n)``. That is symmetric: what pulls a gradient back
    also pushes a tangent forward, and for that PyTorch has a fused kernel. Its own forward-mode derivative is some
    ten passes over the feature, which takes three times as long on a CPU. On a GPU that is not measured, and
    PyTorch's is left in place there.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Replace ``torch.nn.functional.batch_norm``, run anything else."""
        return (_batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


def _batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
                bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """The arguments are those of ``torch.nn.functional.batch_norm``."""
    x, along = forward_ad.unpack_dual(input)
    if along is None or not training or x.device.type != 'cpu':
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    weight, weight_along = (None, None) if weight is None else forward_ad.unpack_dual(weight)
    bias, bias_along = (None, None) if bias is None else forward_ad.unpack_dual(bias)
    out, mean, inverse = torch.native_batch_norm(x, weight, bias, running_mean, running_var, True, momentum, eps)
    out_along, _, _ = torch.ops.aten.native_batch_norm_backward(
        along, x, weight, running_mean, running_var, mean, inverse, True, eps, [True, False, False])
    channels = (1, -1, *[1] * (x.dim() - 2))
    if weight_along is not None:
        scale = weight_along * inverse
        out_along.addcmul_(x, scale.view(channels)).sub_((scale * mean).view(channels))
    if bias_along is not None:
        out_along.add_(bias_along.view(channels))
    return forward_ad.make_dual(out, out_along)
