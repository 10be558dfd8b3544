"""A DSTS layer without gates, scoring kernels and norms (METHOD 1, "Test time")."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import build_activation_layer, build_norm_layer
from torch import Tensor, nn

from mmdsts.models.layer import DSTSLayer
from mmdsts.models.precision import at_least_single
from mmdsts.models.routing import largest_pulse, members

from .fold import (
    fold_routing,
    gates_of,
    has_constant_statistics,
    norm_as_affine,
    prune,
    works_sample_by_sample,
)


class Router(nn.Module):
    """The active neuron of each sample, by one small matmul in at least float32.

    Args:
        channels: Number of channels ``C``.
        num_neurons: Number of neurons ``N``.
    """

    def __init__(self, channels: int, num_neurons: int) -> None:
        super().__init__()
        self.register_buffer('matrix', torch.zeros(num_neurons, channels))
        self.register_buffer('bias', torch.zeros(num_neurons))

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any) -> Router:
        return super()._apply(at_least_single(fn), *args)

    def forward(self, x: Tensor) -> Tensor:
        """Active neurons, long, shape ``(B,)``, of features of shape ``(B, C, T, H, W)``."""
        # As in training, half precision would round the differences away.
        dtype = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(device_type=x.device.type, enabled=False):
            pooled = x.mean(dim=(2, 3, 4), dtype=dtype)
            return largest_pulse(torch.addmm(self.bias.to(dtype), pooled, self.matrix.to(dtype).t()))


def _zeros(*shape: int) -> Tensor:
    """Weights with channels last: a convolution of few samples, to which their format is no small part of the work,
    is some 5 % quicker so on a CPU (docs/performance.md).
    """
    return torch.zeros(shape).contiguous(memory_format=torch.channels_last_3d)


class PrunedNeuron(nn.Module):
    """Both operators of a neuron, each on the channels that it reads, with the norm's scale in the weights.

    Args:
        channels: Number of output channels ``C``.
        spatial_channels: Number of channels that the spatial operator reads, at least 1.
        temporal_channels: Number of channels that the temporal operator reads, at least 1.

    Attributes:
        spatial_index, temporal_index: Channels that are read, long, shapes ``(K_S,)`` and ``(K_T,)``.
        spatial, temporal: Weights, shapes ``(C, K_S, 1, 3, 3)`` and ``(C, K_T, 3, 1, 1)``.
    """

    def __init__(self, channels: int, spatial_channels: int, temporal_channels: int) -> None:
        super().__init__()
        self.register_buffer('spatial_index', torch.zeros(spatial_channels, dtype=torch.long))
        self.register_buffer('spatial', _zeros(channels, spatial_channels, 1, 3, 3))
        self.register_buffer('temporal_index', torch.zeros(temporal_channels, dtype=torch.long))
        self.register_buffer('temporal', _zeros(channels, temporal_channels, 3, 1, 1))

    def forward(self, x: Tensor, spatial_bias: Tensor, temporal_bias: Tensor) -> tuple[Tensor, Tensor]:
        """Apply both operators.

        Args:
            x: Samples that activate this neuron, shape ``(b, C, T, H, W)``.
            spatial_bias: Shape ``(C,)``.
            temporal_bias: Shape ``(C,)``.

        Returns:
            Two tensors of the shape of ``x``.
        """
        # As 2D convolutions, over frames as the batch and over flattened space: the same values, and on a CPU faster
        # than in 3D, by far where only one sample activates this neuron (docs/performance.md).
        batch, _, frames, height, width = x.shape
        read = x.transpose(1, 2).index_select(2, self.spatial_index).flatten(0, 1)
        spatial = F.conv2d(read, self.spatial[:, :, 0], spatial_bias, padding=1)
        spatial = spatial.view(batch, frames, -1, height, width).transpose(1, 2)
        read = x.index_select(1, self.temporal_index).flatten(3)
        temporal = F.conv2d(read, self.temporal[..., 0], temporal_bias, padding=(1, 0))
        return spatial, temporal.view_as(spatial)


class DeployedLayer(nn.Module):
    """:class:`~mmdsts.models.DSTSLayer` in evaluation, with everything constant folded away.

    ::

        X ── mean ── (N, C) matrix ── largest ─► a
        │                                        │
        ├─ channels with b_a = 0 ── S'_a ── ReLU ┤      S', T': pruned, with the norms folded in
        │                                        + ── 1x1x1 conv ──► Z'
        └─ channels with b_a = 1 ── T'_a ── ReLU ┘

    Samples of the same active neuron are computed together.

    Args:
        channels: Number of channels ``C``.
        spatial_channels: For each of the ``N`` neurons, how many channels its spatial operator reads.
        temporal_channels: The same for the temporal operators.
        norm_cfg: Norm that could not be folded. Defaults to None: folded.
        act_cfg: Activation after each operator. Defaults to None, ``dict(type='ReLU')``.
    """

    def __init__(
        self,
        channels: int,
        spatial_channels: Sequence[int],
        temporal_channels: Sequence[int],
        norm_cfg: dict[str, Any] | None = None,
        act_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.router = Router(channels, len(spatial_channels))
        self.neurons = nn.ModuleList(PrunedNeuron(channels, s, t) for s, t in zip(spatial_channels, temporal_channels))
        self.register_buffer('spatial_bias', torch.zeros(channels))
        self.register_buffer('temporal_bias', torch.zeros(channels))
        self.spatial_norm = build_norm_layer(norm_cfg, channels)[1] if norm_cfg else nn.Identity()
        self.temporal_norm = build_norm_layer(norm_cfg, channels)[1] if norm_cfg else nn.Identity()
        self.activation = build_activation_layer(act_cfg or dict(type='ReLU'))
        self.fuse = nn.Conv3d(channels, channels, 1)

    @classmethod
    @torch.no_grad()
    def from_layer(cls, layer: DSTSLayer) -> DeployedLayer:
        """Fold a layer.

        Raises:
            ValueError: If a norm of the layer neither has constant statistics nor works sample by sample.
        """
        channels = layer.fuse.out_channels
        norms = (layer.spatial_norm, layer.temporal_norm)
        for norm in norms:
            if not (has_constant_statistics(norm) or works_sample_by_sample(norm)):
                raise ValueError(
                    f'cannot deploy a DSTSLayer with {norm}: it is neither constant in evaluation nor independent of '
                    'the other samples of the batch. Use a norm with running statistics (BN3d, SyncBN), GN or IN3d '
                    'as norm_cfg of the neck'
                )
        spatial_scale, spatial_bias = norm_as_affine(layer.spatial_norm, channels)
        temporal_scale, temporal_bias = norm_as_affine(layer.temporal_norm, channels)
        pruned = [
            (prune(spatial, 1 - gates, spatial_scale), prune(temporal, gates, temporal_scale))
            for (spatial, temporal), gates in zip((n.operators(layer.base) for n in layer.neurons), gates_of(layer))
        ]
        deployed = cls(channels, [len(s[0]) for s, _ in pruned], [len(t[0]) for _, t in pruned])
        deployed.to(layer.fuse.weight)
        deployed.router.matrix, deployed.router.bias = fold_routing(layer)
        for neuron, (spatial, temporal) in zip(deployed.neurons, pruned):
            neuron.spatial_index, neuron.temporal_index = spatial[0], temporal[0]
            # Into the buffers, which have channels last.
            neuron.spatial.copy_(spatial[1])
            neuron.temporal.copy_(temporal[1])
        deployed.spatial_bias = spatial_bias.to(layer.fuse.weight)
        deployed.temporal_bias = temporal_bias.to(layer.fuse.weight)
        deployed.spatial_norm, deployed.temporal_norm = (
            nn.Identity() if has_constant_statistics(norm) else norm for norm in norms
        )
        deployed.activation, deployed.fuse = layer.activation, layer.fuse
        return deployed

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run the layer.

        Args:
            x: Shape ``(B, C, T, H, W)``, ``B`` at least 1.

        Returns:
            The output, of the shape of ``x``, and the active neurons, long, shape ``(B,)``.
        """
        index = self.router(x)
        groups = members(index)
        if len(groups) == 1:
            return self.fuse(self._operate(x, groups[0][0])), index
        z = torch.empty_like(x)
        for neuron, rows in groups:
            if len(rows) == 1:
                z[rows[0]] = self._operate(x.narrow(0, rows[0], 1), neuron)[0]
            else:
                some = torch.tensor(rows, device=x.device)
                z.index_copy_(0, some, self._operate(x.index_select(0, some), neuron).to(z.dtype))
        return self.fuse(z), index

    def _operate(self, x: Tensor, neuron: int) -> Tensor:
        spatial, temporal = self.neurons[neuron](x, self.spatial_bias, self.temporal_bias)
        return self.activation(self.spatial_norm(spatial)) + self.activation(self.temporal_norm(temporal))
