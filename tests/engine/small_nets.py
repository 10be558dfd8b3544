"""Small float64 problems ``(train_loss, heldout_loss, u, d)`` that the tests of the engine share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call


class Mixture(nn.Module):
    """Softly routed convolutions with gates: everything that UDL has to differentiate through, but smooth.

    ``x (B, 3, T, H, W) -> logits (B, 4)``; ``score`` and ``gate`` decide, the rest processes.
    ``unused_score`` and ``unused`` take part in nothing.
    """

    upstream_parameter_names = ('score', 'gate', 'unused_score')

    def __init__(self, norm: bool = True, dropout: float = 0.3) -> None:
        super().__init__()
        self.score = nn.Parameter(0.3 * torch.randn(2, 3))
        self.gate = nn.Parameter(0.3 * torch.randn(3))
        self.unused_score = nn.Parameter(torch.ones(2))
        self.stem = nn.Conv3d(3, 3, 1)
        self.experts = nn.ModuleList(nn.Conv3d(3, 4, 3, padding=1) for _ in range(2))
        self.norm = nn.BatchNorm3d(4) if norm else nn.GroupNorm(2, 4)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(4, 4)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x):
        x = torch.tanh(self.stem(x))
        weight = torch.softmax(x.mean(dim=(2, 3, 4)) @ self.score.t(), dim=1)
        x = x * torch.sigmoid(self.gate)[:, None, None, None]
        x = sum(w[:, None, None, None, None] * e(x) for w, e in zip(weight.t(), self.experts))
        x = self.drop(torch.tanh(self.norm(x)))
        return self.head(x.mean(dim=(2, 3, 4)))


class NeckAndHead(nn.Module):
    """A DSTS neck and a classifier: ``x (B, C, T, H, W) -> logits (B, 4)``, scaled with its loss."""

    def __init__(self, neck: nn.Module) -> None:
        super().__init__()
        self.neck = neck
        self.head = nn.Linear(neck.in_channels, 4)

    def forward(self, x):
        out, loss_aux = self.neck(x)
        # Scaled, not shifted: cross-entropy would not see a shift.
        return self.head(out.mean(dim=(2, 3, 4))) * (1 + loss_aux.get('loss_balance', 0))


def module_problem(net: nn.Module, batch: int = 3, channels: int = 3, noise_seed: int = 7, classes: int = 4):
    """Losses of ``net`` on two random batches, functions of its parameters, each with fixed noise."""
    deciding = ('score', 'gate', 'log_scale', 'unused_score')
    u = {n: p for n, p in net.named_parameters() if n.rsplit('.', 1)[-1] in deciding}
    d = {n: p for n, p in net.named_parameters() if n not in u}

    def loss_on(x, y, seed):
        def loss(upstream, downstream):
            buffers = {n: b.clone() for n, b in net.named_buffers()}
            torch.manual_seed(seed)
            out = functional_call(net, {**upstream, **downstream, **buffers}, (x,))
            return F.cross_entropy(out, y)

        return loss

    def draw():
        return torch.randn(batch, channels, 2, 4, 4), torch.randint(classes, (batch,))

    return loss_on(*draw(), noise_seed), loss_on(*draw(), noise_seed + 1), u, d


def unrolled_gradient(train_loss, heldout_loss, u, d, inner_lr, through_u_hat: bool = False):
    """The same gradient the long way: one graph from ``u`` through the step to the held-out loss."""
    rates = inner_lr if isinstance(inner_lr, dict) else dict.fromkeys(d, inner_lr)
    u = {n: t.detach().clone().requires_grad_() for n, t in u.items()}
    d = {n: t.detach().clone().requires_grad_() for n, t in d.items()}
    grads = torch.autograd.grad(train_loss(u, d), list(d.values()), create_graph=True, allow_unused=True)
    d_hat = {n: t if g is None else t - rates[n] * g for (n, t), g in zip(d.items(), grads)}
    u_hat = u if through_u_hat else {n: t.detach() for n, t in u.items()}
    found = torch.autograd.grad(heldout_loss(u_hat, d_hat), list(u.values()), allow_unused=True)
    return {n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(u.items(), found)}


def max_difference(a, b) -> float:
    """Largest absolute difference over two dicts with the same keys."""
    assert a.keys() == b.keys()
    return max(float((a[n] - b[n]).detach().abs().max()) for n in a)
