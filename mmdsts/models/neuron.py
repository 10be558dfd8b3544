"""A specialized neuron: what it owns and what it computes (METHOD 1)."""

from __future__ import annotations

from typing import Any, Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .precision import at_least_single
from .shared_base import SharedBase

SPATIAL_PADDING = (0, 1, 1)
TEMPORAL_PADDING = (1, 0, 0)


class SpecializedNeuron(nn.Module):
    """One specialized neuron (METHOD 1).

    Each tensor is a parameter of its own, not a slice of a stack: an optimizer skips a parameter without a
    gradient, weight decay, momentum and all, which is what METHOD 1.5 asks for a neuron that no sample
    activated. Its operators and its gates rest then; its scoring kernel does not, since the straight-through
    gradient tells the neurons that lost a sample whether they should have had it.

    Args:
        channels: Number of channels ``C`` of the layer; operators keep it.
        gate_std: Standard deviation of the initial gates. Defaults to 1, the scale of the noise, so that
            channels start out undecided but not alike (our choice, the notes give none).

    Attributes:
        score: Scoring kernel ``m``, shape ``(C, C, 1, 1, 1)``. Upstream; at least float32 whatever precision
            the module is put into.
        gate: Gate parameters ``g``, shape ``(C,)``. Upstream.
        spatial: Spatial operator ``S``, shape ``(C, C, 1, 3, 3)``; what the neuron adds where the layer has a
            :class:`~mmdsts.models.shared_base.SharedBase`. Downstream.
        temporal: Temporal operator ``T``, shape ``(C, C, 3, 1, 1)``, likewise. Downstream.
    """

    #: Parameters of this module that decide, by name; all others are downstream (METHOD 2).
    upstream_parameter_names = ('score', 'gate')

    def __init__(self, channels: int, gate_std: float = 1.0) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.empty(channels, channels, 1, 1, 1))
        self.spatial = nn.Parameter(torch.empty(channels, channels, 1, 3, 3))
        self.temporal = nn.Parameter(torch.empty(channels, channels, 3, 1, 1))
        self.gate = nn.Parameter(torch.empty(channels))
        self.gate_std = gate_std
        self.reset_parameters()

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any) -> SpecializedNeuron:
        careful = at_least_single(fn)
        score = (self.score, self.score.grad)
        return super()._apply(lambda t: careful(t) if any(t is s for s in score) else fn(t), *args)

    def reset_parameters(self) -> None:
        """Draw all four tensors anew."""
        nn.init.kaiming_normal_(self.score, nonlinearity='linear')
        # The pulse sums over the outputs. Drawn independently they would nearly cancel, and an optimizer that moves
        # all entries alike, as Adam does, would move the sum sqrt(C) times as fast for its size as any other weight.
        with torch.no_grad():
            self.score.copy_(self.score[:1].expand_as(self.score).clone())
        nn.init.kaiming_normal_(self.spatial, nonlinearity='relu')
        nn.init.kaiming_normal_(self.temporal, nonlinearity='relu')
        nn.init.normal_(self.gate, std=self.gate_std)

    @torch.no_grad()
    def start_like(self, other: SpecializedNeuron) -> None:
        """Take over operators and gates of another neuron; the scoring kernel stays, so that the two differ in whom
        they learn from.
        """
        self.spatial.copy_(other.spatial)
        self.temporal.copy_(other.temporal)
        self.gate.copy_(other.gate)

    @torch.no_grad()
    def start_at_base(self) -> None:
        """Add nothing to the layer's base yet."""
        self.spatial.zero_()
        self.temporal.zero_()

    def operators(self, base: SharedBase | None = None) -> tuple[Tensor, Tensor]:
        """Spatial and temporal operator that this neuron applies in a layer with this base, if any."""
        return (self.spatial, self.temporal) if base is None else base(self.spatial, self.temporal)

    def forward(self, x: Tensor, gates: Tensor, base: SharedBase | None = None) -> tuple[Tensor, Tensor]:
        """Apply both operators to the channels that the gates send them (METHOD 1.4).

        ``S((1 - b) . X)`` equals ``X`` convolved with ``S * (1 - b)``: gating the weights saves two copies of
        ``X``.

        Args:
            x: Samples that activate this neuron, shape ``(b, C, T, H, W)``.
            gates: Gates ``b``, shape ``(C,)``.
            base: The layer's base. Defaults to None: it has none.

        Returns:
            ``Z_S`` and ``Z_T``, each of the shape of ``x``.
        """
        spatial, temporal = self.operators(base)
        gates = gates.view(1, -1, 1, 1, 1)
        return (
            F.conv3d(x, spatial * (1 - gates), padding=SPATIAL_PADDING),
            F.conv3d(x, temporal * gates, padding=TEMPORAL_PADDING),
        )
