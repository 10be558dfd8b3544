"""What the operators of a layer's neurons have in common, and how far they differ from it (ours, not in METHOD)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SharedBase(nn.Module):
    """A spatial and a temporal operator that belong to the layer, as its norms and its fusion do.

    A neuron applies these plus its own: ``S + r S_i`` and ``T + r T_i``. What is common is learned from all samples of
    a step, instead of by each neuron from its own, and ``S_i`` and ``T_i``, which start at zero, are left to what is
    particular to these. Their gradient comes from a part of the samples and is the noisier for it, and an adaptive
    optimizer makes steps of full size of noise as well. So ``r`` is learned: where what neurons learned for themselves
    helps, it grows, where it is noise, it shrinks (docs/evidence.md has both).

    What a neuron owns rests while it is idle (METHOD 1.5); what it would apply moves with the base.

    Args:
        spatial: What the spatial operator starts as, shape ``(C, C, 1, 3, 3)``; copied.
        temporal: What the temporal operator starts as, shape ``(C, C, 3, 1, 1)``; copied.
        num_neurons: Number of neurons ``N``; ``r`` starts from ``1 / N``.

    Attributes:
        spatial: Spatial operator ``S``. Downstream.
        temporal: Temporal operator ``T``. Downstream.
        log_own_scale: Logarithm of ``r``, over :attr:`SPEED`; a scalar. Downstream.
    """

    #: How much faster ``r`` moves than its logarithm's own rate, as the scale of the pulses does.
    SPEED = 3.0

    def __init__(self, spatial: Tensor, temporal: Tensor, num_neurons: int) -> None:
        super().__init__()
        self.spatial = nn.Parameter(spatial.detach().clone())
        self.temporal = nn.Parameter(temporal.detach().clone())
        self.log_own_scale = nn.Parameter(-torch.tensor(float(num_neurons)).log() / self.SPEED)

    @property
    def own_scale(self) -> Tensor:
        """``r``, a positive scalar."""
        return (self.SPEED * self.log_own_scale).exp()

    def forward(self, spatial: Tensor, temporal: Tensor) -> tuple[Tensor, Tensor]:
        """Operators that a neuron applies, from its own."""
        own_scale = self.own_scale
        return self.spatial + own_scale * spatial, self.temporal + own_scale * temporal
