"""DSTS without one of its parts: the layers that show what the part is good for."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor, nn

from mmdsts.models import DSTSLayer, DSTSNeck
from mmdsts.models.routed_conv import routed_conv
from mmdsts.models.routing import Routing, largest_pulse


class FixedRoutingLayer(DSTSLayer):
    """Routing that nobody learned: scoring kernels stay as drawn, and training goes where the test does.

    Similar samples still activate the same neuron, since their pulses are similar; which samples share one is left
    to chance.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        for neuron in self.neurons:
            neuron.score.requires_grad_(False)

    def choose(self, pulse: Tensor) -> Tensor:
        """The largest pulse, without noise and without gradient."""
        return F.one_hot(largest_pulse(pulse), pulse.shape[1]).to(pulse.dtype)


class UngatedLayer(DSTSLayer):
    """Both operators of a neuron read all channels: routing without gates, at twice the work (METHOD 1.3)."""

    #: Operators that are there.
    operators = ('spatial', 'temporal')

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        unused = {'spatial', 'temporal'} - set(self.operators)
        # Held, since a neuron has them, but not trained and not counted.
        for name in unused:
            _freeze(getattr(self, f'{name}_norm'))
        for neuron in self.neurons:
            for name in ('gate', *unused):
                getattr(neuron, name).requires_grad_(False)
        if self.base is not None:
            for name in unused:
                getattr(self.base, name).requires_grad_(False)

    def merge(self, spatial: Tensor | None, temporal: Tensor | None) -> Tensor:
        """``Z``, of the operators that are there."""
        present = [
            self.activation(norm(z))
            for norm, z in ((self.spatial_norm, spatial), (self.temporal_norm, temporal))
            if z is not None
        ]
        return sum(present[1:], present[0])

    def report(self, routing: Routing) -> dict[str, Tensor]:
        """As of a DSTS layer, without the figures of the gates."""
        return {name: v for name, v in super().report(routing).items() if name not in ('temporal', 'flipped')}

    def _operate_in_training(self, x: Tensor, choice: Tensor, gates: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return self._operate_ungated(x, choice)

    def _operate_in_evaluation(self, x: Tensor, index: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return self._operate_ungated(x, F.one_hot(index, len(self.neurons)).to(x.dtype))

    def _operate_ungated(self, x: Tensor, choice: Tensor) -> tuple[Tensor | None, Tensor | None]:
        everything = torch.ones(len(self.neurons), x.shape[1], dtype=x.dtype, device=x.device)
        spatial, temporal = (
            routed_conv(x, choice, everything, weights) if name in self.operators else None
            for name, weights in zip(('spatial', 'temporal'), zip(*(n.operators(self.base) for n in self.neurons)))
        )
        return spatial, temporal


class SpatialLayer(UngatedLayer):
    """Spatial operators only."""

    operators = ('spatial',)


class TemporalLayer(UngatedLayer):
    """Temporal operators only."""

    operators = ('temporal',)


@MODELS.register_module()
class FixedRoutingNeck(DSTSNeck):
    """DSTS with :class:`FixedRoutingLayer`; arguments as :class:`~mmdsts.models.DSTSNeck`."""

    layer_type = FixedRoutingLayer


@MODELS.register_module()
class UngatedNeck(DSTSNeck):
    """DSTS with :class:`UngatedLayer`; arguments as :class:`~mmdsts.models.DSTSNeck`."""

    layer_type = UngatedLayer


@MODELS.register_module()
class SpatialNeck(DSTSNeck):
    """DSTS with :class:`SpatialLayer`; arguments as :class:`~mmdsts.models.DSTSNeck`."""

    layer_type = SpatialLayer


@MODELS.register_module()
class TemporalNeck(DSTSNeck):
    """DSTS with :class:`TemporalLayer`; arguments as :class:`~mmdsts.models.DSTSNeck`."""

    layer_type = TemporalLayer


def _freeze(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.requires_grad_(False)
