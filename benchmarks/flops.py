"""FLOPs that a run really executes, by PyTorch's own formulas (``torch.utils.flop_counter``, torch >= 2.2)."""

from __future__ import annotations

from typing import Any, Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class FlopTotal(TorchDispatchMode):
    """Sums the FLOPs of convolutions and matrix products, backward passes included.

    PyTorch's ``FlopCounterMode`` also keeps account by module. For that it hooks into autograd in a way that
    ``torch.autograd.grad`` towards parameters does not bear, and UDL takes such gradients.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run the operator and add what it costs."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if func is torch.ops.aten.convolution_backward.default:
            self.total += _convolution_backward_flops(*args)
        elif formula is not None:
            self.total += formula(*args, **kwargs, out_val=out)
        return out


def _convolution_backward_flops(grad: Tensor, x: Tensor, weight: Tensor, bias_sizes: Any, *settings: Any) -> int:
    """Each of the two gradients, where wanted, costs what the convolution did.

    PyTorch's own formula counts the weight gradient of a grouped convolution once for each group too often
    (pytorch/pytorch#183405).
    """
    *settings, output_mask = settings
    convolution = flop_registry[torch.ops.aten.convolution]
    return sum(output_mask[:2]) * convolution(x, weight, None, *settings, out_val=grad)


def count_flops(run: Callable[[], Any]) -> int:
    """FLOPs of one run; a multiplication and an addition are two."""
    with FlopTotal() as counter:
        run()
    return counter.total
