"""The UDL iteration as it is first written down: keep the graph of the simulated step and differentiate through it.

With ``torchopt`` its functional SGD makes the simulated step, otherwise a line here does; the same arithmetic.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mmdsts.engine import split_parameters

NAME = 'full, unrolled ' + ('(torchopt)' if find_spec('torchopt') else '(by hand)')


class UnrolledUDL:
    """Simulated, meta and actual step with everything downstream in the simulated one (METHOD 2).

    Args:
        model: Recognizer of MMAction2 with upstream parameters.
        lr: Learning rate of all three steps.
    """

    def __init__(self, model: nn.Module, lr: float) -> None:
        self.model = model
        self.lr = lr
        self.upstream, self.downstream = split_parameters(model)
        self.upstream_optimizer = torch.optim.SGD(self.upstream.values(), lr=lr, momentum=0.9)
        self.downstream_optimizer = torch.optim.SGD(self.downstream.values(), lr=lr, momentum=0.9)

    def step(self, data: dict[str, Any], heldout_data: dict[str, Any], context: Any) -> None:
        """One iteration.

        Args:
            data: Training batch as a loader gives it.
            heldout_data: Another one.
            context: Makes the context of each forward pass (autocast).
        """
        train = self.model.data_preprocessor(data, True)
        heldout = self.model.data_preprocessor(heldout_data, True)
        names = list(self.downstream)
        with context():
            loss = self._loss(dict(self.upstream, **self.downstream), train)
        grads = torch.autograd.grad(loss, list(self.downstream.values()), create_graph=True, allow_unused=True)
        grads = [torch.zeros_like(p) if g is None else g for g, p in zip(grads, self.downstream.values())]
        simulated = dict(zip(names, self._simulate(list(self.downstream.values()), grads)))
        constants = {name: parameter.detach() for name, parameter in self.upstream.items()}
        with context():
            heldout_loss = self._loss(dict(constants, **simulated), heldout)
        meta = torch.autograd.grad(heldout_loss, list(self.upstream.values()), allow_unused=True)
        for parameter, gradient in zip(self.upstream.values(), meta):
            parameter.grad = gradient
        self.upstream_optimizer.step()
        del grads, simulated, loss, heldout_loss, meta
        self.model.zero_grad(set_to_none=True)
        with context():
            actual = self.model.parse_losses(self.model(**train, mode='loss'))[0]
        actual.backward()
        self.downstream_optimizer.step()
        self.model.zero_grad(set_to_none=True)

    def _simulate(self, parameters: list[Tensor], grads: list[Tensor]) -> list[Tensor]:
        if not find_spec('torchopt'):
            return [p - self.lr * g for p, g in zip(parameters, grads)]
        import torchopt

        sgd = torchopt.sgd(self.lr)
        updates, _ = sgd.update(grads, sgd.init(parameters), params=parameters, inplace=False)
        return torchopt.apply_updates(parameters, updates, inplace=False)

    def _loss(self, parameters: dict[str, Tensor], inputs: dict[str, Any]) -> Tensor:
        # Copies: the statistics of norms move in the actual step only.
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        losses = functional_call(self.model, dict(buffers, **parameters), (), dict(inputs, mode='loss'))
        return self.model.parse_losses(losses)[0]
