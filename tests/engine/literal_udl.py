"""One UDL iteration written down literally: three full forwards, no code shared with the engine."""

from __future__ import annotations

import copy

import torch
from torch.func import functional_call


def is_upstream(name: str) -> bool:
    return name.rsplit('.', 1)[-1] in ('score', 'gate', 'log_scale')


class LiteralUDL:
    """State of a model after one iteration with plain SGD, by brute-force unrolling (METHOD 2).

    ``parameters`` and ``buffers`` hold the result, ``upstream_gradient`` and ``heldout_loss`` what led to it.
    """

    def __init__(self, model, batch, heldout, lr, inner_lr, upstream_lr=None, scope='neck', direct_term=True):
        model = copy.deepcopy(model)
        start = torch.get_rng_state()
        parameters = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters() if p.requires_grad}
        u = {n: p for n, p in parameters.items() if is_upstream(n)}
        d = {n: p for n, p in parameters.items() if not is_upstream(n)}
        batch, heldout = (model.data_preprocessor(copy.deepcopy(b), True) for b in (batch, heldout))

        def loss(data, tensors, buffers=None):
            buffers = {n: b.clone() for n, b in model.named_buffers()} if buffers is None else buffers
            losses = functional_call(model, {**tensors, **buffers}, (), dict(**data, mode='loss'))
            return model.parse_losses(losses)[0]

        moving = {n: p for n, p in d.items() if scope == 'full' or not n.startswith('backbone.')}
        # Simulated step, noise from the start of the stream.
        grads = torch.autograd.grad(
            loss(batch, parameters), list(moving.values()), create_graph=True, allow_unused=True
        )
        d_hat = {n: p if g is None else p - inner_lr * g for (n, p), g in zip(moving.items(), grads)}
        # Meta step, noise from further down the stream.
        u_hat = u if direct_term else {n: p.detach() for n, p in u.items()}
        outer = loss(heldout, {**parameters, **u_hat, **d_hat})
        found = torch.autograd.grad(outer, list(u.values()), allow_unused=True)
        self.upstream_gradient = {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(u.items(), found)}
        self.heldout_loss = outer.item()
        rate = lr if upstream_lr is None else upstream_lr
        new_u = {n: (p - rate * self.upstream_gradient[n]).detach() for n, p in u.items()}
        # Actual step, noise from the start of the stream again.
        torch.set_rng_state(start)
        self.buffers = {n: b.clone() for n, b in model.named_buffers()}
        self.loss = loss(batch, {**d, **new_u}, self.buffers)
        grads = torch.autograd.grad(self.loss, list(d.values()), allow_unused=True)
        self.used = {n for n, g in zip(d, grads) if g is not None}
        new_d = {n: p.detach() if g is None else (p - lr * g).detach() for (n, p), g in zip(d.items(), grads)}
        self.parameters = {**new_d, **new_u}
        # Plain training would leave the generator here, too.
        self.rng_state = torch.get_rng_state()
        torch.set_rng_state(start)
