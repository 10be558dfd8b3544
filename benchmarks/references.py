"""Other ways to compute a DSTS layer, and layers without a choice: what ours is measured against.

The forms take the parameters of a :class:`~mmdsts.models.DSTSLayer` and differ from it only in how the operators are
applied.
"""

from __future__ import annotations

from typing import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdsts.models import DSTSLayer
from mmdsts.models.gates import sample_gates
from mmdsts.models.routed_conv.literal import literal_conv
from mmdsts.models.routed_conv.selection import conv_per_sample, select_weights
from mmdsts.models.routing import active_neurons, straight_through_gumbel

Operators = Callable[[DSTSLayer, Tensor, Tensor, Tensor], 'tuple[Tensor, Tensor]']


class ReferenceLayer(nn.Module):
    """A layer in training mode with another form of the operators.

    Args:
        layer: Layer whose parameters it uses.
        operators: Maps layer, input ``(B, C, T, H, W)``, choice ``(B, N)`` and gates ``(N, C)`` to ``Z_S``, ``Z_T``.
        literal_pulse: Whether the scoring convolutions are computed as METHOD 1.1 has them. Defaults to False.
    """

    def __init__(self, layer: DSTSLayer, operators: Operators, literal_pulse: bool = False) -> None:
        super().__init__()
        self.layer = layer
        self.operators = operators
        self.literal_pulse = literal_pulse

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Output of the shape of ``x``, and the active neurons."""
        layer = self.layer
        if self.literal_pulse:
            sums = [F.conv3d(x, neuron.score).sum(dim=(1, 2, 3, 4)) for neuron in layer.neurons]
            pulse = torch.stack(sums, dim=1)
        else:
            pulse = layer.pulse(x, layer.scoring_matrix())
        choice = straight_through_gumbel(pulse, layer.temperature)
        gates = sample_gates(torch.stack([neuron.gate for neuron in layer.neurons]), layer.soft_prob, layer.gate_noise)
        spatial, temporal = self.operators(layer, x, choice, gates)
        z = layer.activation(layer.spatial_norm(spatial)) + layer.activation(layer.temporal_norm(temporal))
        return layer.fuse(z), active_neurons(choice)


def literal(layer: DSTSLayer, x: Tensor, choice: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    """METHOD 1.2 and 1.4 to the letter: every neuron on two gated copies of the input, then the sum."""
    return (
        literal_conv(x, choice, 1 - gates, [neuron.spatial for neuron in layer.neurons]),
        literal_conv(x, choice, gates, [neuron.temporal for neuron in layer.neurons]),
    )


def winner_only(layer: DSTSLayer, x: Tensor, choice: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    """Only the active neuron, scaled by its ``y_a``: the same values, but not the gradient of the choice."""
    index = active_neurons(choice)
    members = [(index == i).nonzero().flatten() for i in range(choice.shape[1])]
    parts = [
        [y * part for part in layer.neurons[i](x[rows], gates[i])]
        for i, rows in enumerate(members)
        if len(rows)
        for y in [choice[rows, i].view(-1, 1, 1, 1, 1)]
    ]
    order = torch.cat(members).argsort()
    spatial, temporal = (torch.cat(outputs)[order] for outputs in zip(*parts))
    return spatial, temporal


def grouped_convolution(layer: DSTSLayer, x: Tensor, choice: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of each sample selected, the samples groups of one convolution."""
    spatial, temporal = _selected(layer, choice, gates)
    return conv_per_sample(x, spatial), conv_per_sample(x, temporal)


def batched_matmul(layer: DSTSLayer, x: Tensor, choice: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of each sample selected, one batched matrix product with the unfolded input."""
    batch, channels, frames, height, width = x.shape
    spatial, temporal = _selected(layer, choice, gates)
    columns = F.unfold(x.transpose(1, 2).flatten(0, 1), 3, padding=1)
    columns = columns.view(batch, frames, -1, height * width).transpose(1, 2).flatten(2)
    z_s = torch.bmm(spatial.flatten(2), columns).view_as(x)
    padded = F.pad(x.flatten(3), (0, 0, 1, 1))
    columns = torch.stack([padded[:, :, k : k + frames] for k in range(3)], dim=2).flatten(3).flatten(1, 2)
    return z_s, torch.bmm(temporal.flatten(2), columns).view_as(x)


def _selected(layer: DSTSLayer, choice: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    return (
        select_weights(choice, 1 - gates, [neuron.spatial for neuron in layer.neurons]),
        select_weights(choice, gates, [neuron.temporal for neuron in layer.neurons]),
    )


class ConvPair(nn.Module):
    """What is left without neurons, gates and pulses: two convolutions side by side, norms and fusion.

    Args:
        channels: Number of channels ``C``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            nn.Conv3d(channels, channels, (1, 3, 3), padding=(0, 1, 1), bias=False), nn.BatchNorm3d(channels), nn.ReLU()
        )
        self.temporal = nn.Sequential(
            nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0), bias=False), nn.BatchNorm3d(channels), nn.ReLU()
        )
        self.fuse = nn.Conv3d(channels, channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Output of the shape of ``x``; nothing was decided."""
        return self.fuse(self.spatial(x) + self.temporal(x)), None


FORMS: Sequence[tuple[str, Operators, bool]] = (
    ('literal dense form', literal, True),
    ('winner only (other router gradient)', winner_only, False),
    ('weight space, grouped convolution', grouped_convolution, False),
    ('weight space, batched matmul', batched_matmul, False),
)
