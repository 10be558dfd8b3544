"""A recorded backbone as the features of the hypergradient: no second derivatives of the backbone (METHOD 2)."""

from __future__ import annotations

from typing import Callable, ContextManager

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .tape import BackboneTape


class ForwardModeError(RuntimeError):
    """An operator of the backbone has no forward-mode derivative."""


class BackboneFeatures:
    """Pulls gradients back and pushes directions forward: see :class:`~mmdsts.engine.hypergradient.Features`.

    The exact gradient with ``scope='full'`` would differentiate every convolution and norm of the backbone twice.
    This takes one backward and one forward-mode pass instead, less time and no second-order graph.

    Args:
        tape: Tape of the training batch; recorded with ``detach=True, leaves=True`` by the time of use.
        parameters: The backbone's part of the downstream parameters, by their names in the recognizer.
        autocast: Makes the context of one forward.
    """

    def __init__(
        self, tape: BackboneTape, parameters: dict[str, Tensor], autocast: Callable[[], ContextManager]
    ) -> None:
        self.tape = tape
        self.names = parameters.keys()
        self._parameters = parameters
        self._autocast = autocast

    def leaves(self) -> dict[str, Tensor]:
        """See :class:`~mmdsts.engine.hypergradient.Features`."""
        return {f'feature {i}': given for i, (_, given) in enumerate(self.tape.outputs)}

    def pull_back(self, gradient: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
        """See :class:`~mmdsts.engine.hypergradient.Features`; leaves the recorded graph for the actual step."""
        pairs = [(out, gradient[f'feature {i}']) for i, (out, _) in enumerate(self.tape.outputs)]
        pairs = [(out, g) for out, g in pairs if g is not None]
        if not pairs:
            return dict.fromkeys(self.names)
        outputs, gradients = zip(*pairs)
        found = torch.autograd.grad(
            outputs, list(self._parameters.values()), gradients, retain_graph=True, allow_unused=True
        )
        return dict(zip(self.names, found))

    def push_forward(self, direction: dict[str, Tensor]) -> dict[str, Tensor]:
        """See :class:`~mmdsts.engine.hypergradient.Features`; moves the random generators.

        Raises:
            ForwardModeError: An operator does not support forward-mode differentiation.
        """
        prefix = len(self.tape.name) + 1
        try:
            with torch.no_grad(), forward_ad.dual_level(), self._autocast():
                dual = {
                    name[prefix:]: forward_ad.make_dual(self._parameters[name].detach(), t)
                    for name, t in direction.items()
                }
                outputs = [forward_ad.unpack_dual(out) for out in self.tape.again(dual)]
        except (NotImplementedError, RuntimeError) as error:
            if 'forward AD' not in str(error) and 'forward mode' not in str(error).lower():
                raise
            raise ForwardModeError(str(error)) from error
        return {
            f'feature {i}': torch.zeros_like(out.primal) if out.tangent is None else out.tangent
            for i, out in enumerate(outputs)
        }
