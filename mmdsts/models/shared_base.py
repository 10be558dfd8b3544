"""What the operators of a layer's neurons have in common, learned from all samples (ours, not in METHOD)."""

from __future__ import annotations

from torch import Tensor, nn


class SharedBase(nn.Module):
    """A spatial and a temporal operator that belong to the layer, as its norms and its fusion do.

    A neuron applies these plus its own: ``S + S_i / sqrt(N)`` and ``T + T_i / sqrt(N)``. What is common is learned
    from all samples of a step, instead of by each neuron from its own, and ``S_i`` and ``T_i`` are left to what is
    particular to these. They start at zero, and weight decay takes them back there. Their gradient comes from about
    ``1 / N`` of a step's samples and is ``sqrt(N)`` times as noisy for its size, hence the divisor.

    What a neuron owns rests while it is idle (METHOD 1.5); what it would apply moves with the base.

    Args:
        spatial: What the spatial operator starts as, shape ``(C, C, 1, 3, 3)``; copied.
        temporal: What the temporal operator starts as, shape ``(C, C, 3, 1, 1)``; copied.
        num_neurons: Number of neurons ``N``.

    Attributes:
        spatial: Spatial operator ``S``. Downstream.
        temporal: Temporal operator ``T``. Downstream.
    """

    def __init__(self, spatial: Tensor, temporal: Tensor, num_neurons: int) -> None:
        super().__init__()
        self.spatial = nn.Parameter(spatial.detach().clone())
        self.temporal = nn.Parameter(temporal.detach().clone())
        self.factor = num_neurons**-0.5

    def forward(self, spatial: Tensor, temporal: Tensor) -> tuple[Tensor, Tensor]:
        """Operators that a neuron applies, from its own."""
        return self.spatial + self.factor * spatial, self.temporal + self.factor * temporal
