"""The deployed neck without data-dependent control flow: the form that graphs (ONNX, torch.export) can
hold.

Grouping samples by active neuron makes loops whose length depends on the data. Here each sample gathers the
weights of its neuron, and all samples are one batched matmul on unfolded input: the same values, for any
batch size.
"""

from __future__ import annotations

from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .deployed_layer import DeployedLayer
from .deployed_neck import DeployedDSTSNeck


class GatheredOperator(nn.Module):
    """One operator of all neurons: what each sample reads and multiplies with is looked up by its active
    neuron.

    Args:
        indices: Channels that each of the ``N`` neurons reads, ``N`` tensors of shapes ``(K_i,)``.
        weights: ``N`` tensors of shapes ``(C, K_i, kT, kH, kW)``, each axis of the kernel 1 or 3.
        bias: Shape ``(C,)``.
    """

    def __init__(self, indices: Sequence[Tensor], weights: Sequence[Tensor], bias: Tensor) -> None:
        super().__init__()
        width = max(len(index) for index in indices)
        self.kernel = tuple(weights[0].shape[2:])
        # Neurons that read fewer channels than others read channel 0 with weights of zero.
        rows = [F.pad(index, (0, width - len(index))) for index in indices]
        self.register_buffer('index', torch.stack(rows))
        padded = [F.pad(weight, (0, 0) * 3 + (0, width - weight.shape[1])) for weight in weights]
        self.register_buffer('weight', torch.stack(padded).flatten(2))
        self.register_buffer('bias', bias[:, None])

    def forward(self, x: Tensor, neuron: Tensor) -> Tensor:
        """Convolve each sample by its own neuron, stride 1, same size.

        Args:
            x: Shape ``(B, C, T, H, W)``.
            neuron: Active neurons, long, shape ``(B,)``.

        Returns:
            Shape ``(B, C, T, H, W)``.
        """
        batch, channels, frames, height, width = x.shape
        # Channels of all samples in one row: the lookup is a plain selection, which every runtime has.
        first = channels * torch.arange(batch, device=x.device)[:, None]
        read = x.flatten(0, 1).index_select(0, (first + self.index[neuron]).flatten())
        read = read.view(batch, -1, frames, height, width)
        columns = torch.stack(self._shifted(read), dim=2).flatten(3).flatten(1, 2)
        return (torch.bmm(self.weight[neuron], columns) + self.bias).view(batch, -1, frames, height, width)

    def _shifted(self, x: Tensor) -> list[Tensor]:
        """The input under each tap of the kernel."""
        frames, height, width = x.shape[2:]
        k_t, k_h, k_w = self.kernel
        x = F.pad(x, (k_w // 2, k_w // 2, k_h // 2, k_h // 2, k_t // 2, k_t // 2))
        return [
            x[:, :, t : t + frames, h : h + height, w : w + width]
            for t in range(k_t)
            for h in range(k_h)
            for w in range(k_w)
        ]


class GatheredLayer(nn.Module):
    """:class:`DeployedLayer` with gathered weights; takes and returns the same.

    Args:
        layer: The layer whose weights it takes; norms, activation and fusion are shared with it.
    """

    def __init__(self, layer: DeployedLayer) -> None:
        super().__init__()
        neurons = list(layer.neurons)
        self.router = layer.router
        self.spatial = GatheredOperator(
            [neuron.spatial_index for neuron in neurons], [neuron.spatial for neuron in neurons], layer.spatial_bias
        )
        self.temporal = GatheredOperator(
            [neuron.temporal_index for neuron in neurons], [neuron.temporal for neuron in neurons], layer.temporal_bias
        )
        self.spatial_norm, self.temporal_norm = layer.spatial_norm, layer.temporal_norm
        self.activation, self.fuse = layer.activation, layer.fuse

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`DeployedLayer.forward`."""
        index = self.router(x)
        spatial = self.activation(self.spatial_norm(self.spatial(x, index)))
        temporal = self.activation(self.temporal_norm(self.temporal(x, index)))
        return self.fuse(spatial + temporal), index


class GraphDSTSNeck(DeployedDSTSNeck):
    """A deployed neck of gathered layers. It keeps no state: :class:`ScoringPath` returns the active neurons."""

    @classmethod
    def from_deployed(cls, neck: DeployedDSTSNeck) -> GraphDSTSNeck:
        """Take the weights of a deployed neck; what needs no rearranging is shared with it."""
        graph = cls(neck.in_channels, [], [])
        graph.adapter = neck.adapter
        graph.reduce, graph.expand = neck.reduce, neck.expand
        graph.layers.extend(GatheredLayer(layer) for layer in neck.layers)
        return graph.requires_grad_(False).eval()

    def _record(self, active: list[Tensor]) -> None:
        pass
