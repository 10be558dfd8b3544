"""What a neuron's operators read: which channels, and which of their neighbours in space and time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmdsts.models import SpecializedNeuron
from mmdsts.models.gates import decide_gates
from mmdsts.models.shared_base import SharedBase

#: Orthonormal patterns over three frames.
PATTERNS = {'steady': (1, 1, 1), 'direction': (-1, 0, 1), 'pulse': (1, -2, 1)}
#: Shares if weights are independent: of a place of the spatial operator, of a frame or pattern of the temporal one.
SPATIAL_BY_CHANCE, TEMPORAL_BY_CHANCE = 1 / 9, 1 / 3


class Reading(NamedTuple):
    """Shares of what one neuron reads; those of an operator that no channel goes to are zero.

    Attributes:
        temporal_channels: Share of the channels that go to the temporal operator; the others go to the spatial one.
        spatial: Share of the squared weights of the spatial operator at each place, shape ``(3, 3)``.
        temporal: Share of the squared weights of the temporal operator at each frame, shape ``(3,)``.
        patterns: Share of its squared weights along each of :data:`PATTERNS`: the mean of three frames, the difference
            between next and last, and how the frame stands out between them.
    """

    temporal_channels: float
    spatial: np.ndarray
    temporal: np.ndarray
    patterns: dict[str, float]


def read_kernels(neuron: SpecializedNeuron, base: SharedBase | None = None) -> Reading:
    """Shares of what a neuron reads, with the gates of evaluation (METHOD 1.3 and 1.4).

    Args:
        neuron: The neuron.
        base: The base of its layer. Defaults to None: it has none.
    """
    with torch.no_grad():
        gate = decide_gates(neuron.gate) > 0
        spatial, temporal = neuron.operators(base)
        places = spatial[:, ~gate, 0].double().square().sum(dim=(0, 1))
        taps = temporal[:, gate, :, 0, 0].double()
        basis = torch.tensor(list(PATTERNS.values()), dtype=taps.dtype, device=taps.device)
        along = (taps @ (basis / basis.norm(dim=1, keepdim=True)).t()).square().sum(dim=(0, 1))
        patterns = dict(zip(PATTERNS, _shares(along).tolist()))
        return Reading(gate.double().mean().item(), _shares(places), _shares(taps.square().sum(dim=(0, 1))), patterns)


def _shares(values: Tensor) -> np.ndarray:
    total = values.sum()
    return (values / total if total > 0 else torch.zeros_like(values)).cpu().numpy()
