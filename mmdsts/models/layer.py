"""One DSTS layer: N specialized neurons, of which each sample activates one (METHOD 1)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import build_activation_layer, build_norm_layer
from torch import Tensor, nn

from .gates import decide_gates, sample_gates
from .idle import IdleNeurons
from .neuron import SpecializedNeuron
from .pulse import build_pulse
from .recomputation import statistics_once
from .report import layer_report
from .routed_conv import routed_conv
from .routing import Routing, active_neurons, largest_pulse, members, straight_through_gumbel
from .shared_base import SharedBase


class DSTSLayer(nn.Module):
    """``N`` specialized neurons with shared norms and a shared fusion convolution (METHOD 1.1 to 1.5).

    ::

        X ── pulse ── synaptic mechanism ──► a        (one active neuron a for each sample)
        │                                    │
        ├─ (1-b_a)·X ── S_a ── BN ── ReLU ─┐ │
        │                                  + ── 1x1x1 conv ──► Z'
        └─   b_a ·X ──── T_a ── BN ── ReLU ┘

    In training the weights of each sample's active neuron are selected, not its outputs: one convolution
    whatever ``N`` is, with the exact straight-through gradient
    (:func:`~mmdsts.models.routed_conv.routed_conv`). In evaluation each active neuron convolves its own
    samples.

    Args:
        channels: Number of channels ``C``, kept by the layer.
        num_neurons: Number of neurons ``N``, at least 1.
        pulse: Kind of pulse, see :func:`build_pulse`.
        pulse_scale: ``scale`` of :func:`build_pulse`.
        temperature: Temperature of the Gumbel-Softmax.
        soft_prob: See :func:`sample_gates`.
        gate_std: See :class:`SpecializedNeuron`.
        gate_noise: ``noise`` of :func:`sample_gates`.
        shared_base: Whether the layer holds what its neurons' operators have in common, see
            :class:`~mmdsts.models.shared_base.SharedBase`; one neuron shares with nobody.
        norm_cfg: Norm after each operator, one for all neurons.
        act_cfg: Activation after each norm.
    """

    def __init__(
        self,
        channels: int,
        num_neurons: int,
        pulse: str = 'centered',
        pulse_scale: float = 0.5,
        temperature: float = 1.0,
        soft_prob: float = 0.0,
        gate_std: float = 1.0,
        gate_noise: float = 0.02,
        shared_base: bool = False,
        norm_cfg: dict[str, Any] = dict(type='BN3d'),
        act_cfg: dict[str, Any] = dict(type='ReLU'),
    ) -> None:
        super().__init__()
        self.neurons = nn.ModuleList(SpecializedNeuron(channels, gate_std) for _ in range(num_neurons))
        # Neurons become different by what they learn from. As long as they are alike the choice makes no difference and
        # the router, which cannot know yet, gets no gradient (docs/evidence.md).
        for neuron in self.neurons[1:]:
            neuron.start_like(self.neurons[0])
        self.base = None
        if shared_base and num_neurons > 1:
            self.base = SharedBase(*self.neurons[0].operators(), num_neurons)
            for neuron in self.neurons:
                neuron.start_at_base()
        self.pulse = build_pulse(num_neurons, pulse, pulse_scale)
        self.spatial_norm = build_norm_layer(norm_cfg, channels)[1]
        self.temporal_norm = build_norm_layer(norm_cfg, channels)[1]
        self.activation = build_activation_layer(act_cfg)
        self.fuse = nn.Conv3d(channels, channels, 1)
        self.temperature = temperature
        self.soft_prob = soft_prob
        self.gate_noise = gate_noise
        self.idle = IdleNeurons()

    def scoring_matrix(self) -> Tensor:
        """Scoring kernels summed over their outputs, shape ``(N, C)``: all that the pulse reads of them
        (METHOD 1.1).
        """
        return torch.stack([neuron.score.sum(dim=(0, 2, 3, 4)) for neuron in self.neurons])

    def gates(self) -> Tensor:
        """Gate parameters, shape ``(N, C)``."""
        return torch.stack([neuron.gate for neuron in self.neurons])

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
        """Run the layer.

        Args:
            x: Shape ``(B, C, T, H, W)``.

        Returns:
            The layer's output, of the shape of ``x``, and what was decided for the batch.
        """
        pulse = self.pulse(x, self.scoring_matrix())
        probs = (pulse / self.temperature).softmax(dim=1)
        if self.training:
            choice = self.choose(pulse)
            index = active_neurons(choice)
            # Gates of idle neurons rest, also from the gradient of the choice that UDL differentiates (METHOD 1.5).
            gates = self.gates()
            gates = torch.where(choice.detach().any(dim=0)[:, None], gates, gates.detach())
            gates = sample_gates(gates, self.soft_prob, self.gate_noise)
            spatial, temporal = self._operate_in_training(x, choice, gates)
        else:
            index, gates = largest_pulse(pulse), None
            spatial, temporal = self._operate_in_evaluation(x, index)
        # Not in merge, where subclasses would have to repeat it.
        with statistics_once(self.spatial_norm, self.temporal_norm):
            merged = self.merge(spatial, temporal)
        out = self.fuse(merged)
        self.idle.watch(out, index, self.neurons)
        return out, Routing(index, pulse, probs, gates)

    def choose(self, pulse: Tensor) -> Tensor:
        """One-hot choice of a neuron in training, shape ``(B, N)`` like ``pulse`` (METHOD 1.2)."""
        return straight_through_gumbel(pulse, self.temperature)

    def merge(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        """``Z``, from what both operators gave: each through its norm and activation, then summed (METHOD 1.4)."""
        return self.activation(self.spatial_norm(spatial)) + self.activation(self.temporal_norm(temporal))

    def report(self, routing: Routing) -> dict[str, Tensor]:
        """Figures of the batch that ``routing`` is about, by name: see :func:`layer_report`; with a shared base also
        ``own_scale``, see :class:`~mmdsts.models.shared_base.SharedBase`.
        """
        figures = layer_report(routing, self.gates())
        return figures if self.base is None else dict(figures, own_scale=self.base.own_scale.detach())

    def _operate_in_training(self, x: Tensor, choice: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
        if len(self.neurons) == 1:
            # Nothing to choose: one kernel for the whole batch. The factor is one and its gradient zero, but
            # DistributedDataParallel waits for a gradient of every parameter, the scoring kernel too.
            return self.neurons[0](x, gates[0] * choice.mean().to(gates.dtype))
        return self._operate_routed(x, choice, gates)

    def _operate_routed(self, x: Tensor, choice: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
        spatial, temporal = zip(*(neuron.operators(self.base) for neuron in self.neurons))
        # The temporal operators last in the backward pass, when most gradients are held: they are the smaller ones.
        z_temporal = routed_conv(x, choice, gates, temporal)
        return routed_conv(x, choice, 1 - gates, spatial), z_temporal

    def _operate_in_evaluation(self, x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        # Counters of FLOPs trace the model, and do not see into a function of ours.
        if len(self.neurons) > 1 and x.device.type == 'cpu' and not torch.jit.is_tracing():
            # Leaves out the channels that gates close.
            choice = F.one_hot(index, len(self.neurons)).to(x.dtype)
            return self._operate_routed(x, choice, decide_gates(self.gates()))
        return self._operate_by_neuron(x, index)

    def _operate_by_neuron(self, x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        groups = members(index)
        if len(groups) == 1:
            neuron = self.neurons[groups[0][0]]
            return neuron(x, decide_gates(neuron.gate), self.base)
        outputs = [self.neurons[i](x[rows], decide_gates(self.neurons[i].gate), self.base) for i, rows in groups]
        # Rows come back in the order of the batch.
        order = torch.tensor([row for _, rows in groups for row in rows], device=x.device).argsort()
        spatial, temporal = (torch.cat(parts)[order] for parts in zip(*outputs))
        return spatial, temporal
