"""FLOPs that a run really executes, by PyTorch's own formulas (``torch.utils.flop_counter``, torch >= 2.2)."""
from __future__ import annotations

from typing import Any, Callable

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
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=out)
        return out


def count_flops(run: Callable[[], Any]) -> int:
    """FLOPs of one run; a multiplication and an addition are two."""
    with FlopTotal() as counter:
        run()
    return counter.total
