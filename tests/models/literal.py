"""The method written out literally, as METHOD 1 has it: N convolutions, gated copies of the input. Reference
of every fast path."""

import torch
import torch.nn.functional as F

from mmdsts.models.routed_conv.literal import literal_conv


def literal_pulse(x, neurons):
    """METHOD 1.1: ``v_i`` sums all elements of ``q_i = conv(X; m_i)``; shape ``(B, N)``."""
    return torch.stack([F.conv3d(x, neuron.score).sum(dim=(1, 2, 3, 4)) for neuron in neurons], dim=1)


def literal_operators(x, choice, gates, neurons):
    """METHOD 1.2 and 1.4 with every neuron computed: ``sum_i y_i S_i((1-b_i) . X)`` and ``sum_i y_i T_i(b_i .
    X)``."""
    return (
        literal_conv(x, choice, 1 - gates, [neuron.spatial for neuron in neurons]),
        literal_conv(x, choice, gates, [neuron.temporal for neuron in neurons]),
    )


def literal_layer(layer, x, choice, gates):
    """METHOD 1.4 for given decisions."""
    spatial, temporal = literal_operators(x, choice, gates, layer.neurons)
    return layer.fuse(layer.activation(layer.spatial_norm(spatial)) + layer.activation(layer.temporal_norm(temporal)))
