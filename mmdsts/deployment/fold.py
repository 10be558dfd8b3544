"""What is constant after training, folded into weights (METHOD 1, "Test time")."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from mmdsts.models.gates import decide_gates
from mmdsts.models.layer import DSTSLayer
from mmdsts.models.routing import Pulse

#: Modes of :class:`~mmdsts.models.routing.Pulse` that are affine maps of the average feature.
FOLDED_PULSES = ('sum', 'mean', 'centered')


def has_constant_statistics(norm: nn.Module) -> bool:
    """Whether ``norm`` is one scale and shift per channel in evaluation: it keeps running statistics."""
    return isinstance(norm, _NormBase) and norm.running_mean is not None


def works_sample_by_sample(norm: nn.Module) -> bool:
    """Whether ``norm`` treats each sample on its own, so that it may run on any grouping of the batch."""
    return (isinstance(norm, (nn.Identity, nn.GroupNorm))
            or (isinstance(norm, _InstanceNorm) and norm.running_mean is None))


def norm_as_affine(norm: nn.Module, channels: int) -> tuple[Tensor, Tensor]:
    """Scale and shift per channel that ``norm`` applies in evaluation.

    Args:
        norm: A norm for which :func:`has_constant_statistics` holds; any other counts as the identity here,
            since it is kept as it is.
        channels: Number of channels ``C``.

    Returns:
        Scale and shift in float64, each of shape ``(C,)``.
    """
    if not has_constant_statistics(norm):
        return torch.ones(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
    scale = torch.rsqrt(norm.running_var.double() + norm.eps)
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        scale, shift = scale * norm.weight.double(), shift * norm.weight.double() + norm.bias.double()
    return scale, shift


def prune(operator: Tensor, gates: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """An operator reduced to the input channels that it reads, with the norm's scale in it.

    Args:
        operator: Shape ``(C_out, C_in, kT, kH, kW)``.
        gates: Which input channels it reads, 0 or 1, shape ``(C_in,)``.
        scale: Factor of each output channel, shape ``(C_out,)``.

    Returns:
        Channels that are read, long, ascending, shape ``(K,)``, and the weights of these, shape ``(C_out,
        K, kT, kH, kW)``. ``K`` is at least 1: an operator that reads nothing keeps channel 0 with weights
        of zero, since convolutions of no channels do not exist.
    """
    channels = gates.nonzero().flatten()
    if len(channels) == 0:
        channels = torch.zeros(1, dtype=torch.long, device=operator.device)
    gated = operator.double() * gates.double().view(1, -1, 1, 1, 1)
    scaled = gated[:, channels] * scale.to(operator.device).view(-1, 1, 1, 1, 1)
    return channels, scaled.to(operator.dtype)


def fold_routing(layer: DSTSLayer) -> tuple[Tensor, Tensor]:
    """All that decides which neuron is active, as one affine map of the average feature (METHOD 1.1).

    The scoring kernels collapse to a matrix, and the centring and scaling of ``pulse='centered'`` go into
    it. The sum of ``pulse='sum'`` differs from the mean by a positive factor common to all neurons, which
    no argmax sees.

    Returns:
        Matrix ``(N, C)`` and bias ``(N,)``: the active neuron is the argmax of ``matrix @ mean_thw(X) +
        bias``.

    Raises:
        ValueError: If it is not known how the pulses of this layer are folded.
    """
    if type(layer.pulse).forward is not Pulse.forward or layer.pulse.mode not in FOLDED_PULSES:
        raise ValueError(
            f'cannot deploy a DSTSLayer whose pulse is {layer.pulse}: only the modes {FOLDED_PULSES} of '
            'mmdsts.models.routing.Pulse can be folded. Extend mmdsts.deployment.fold.fold_routing, or train with one '
            'of these')
    kernels = layer.scoring_matrix()
    # The mean runs over outputs too, as many as there are channels.
    matrix = kernels.double() / kernels.shape[1]
    bias = matrix.new_zeros(len(matrix))
    if layer.pulse.mode == 'centered':
        scale = torch.rsqrt(layer.pulse.running_var.double() + layer.pulse.eps)
        matrix, bias = matrix * scale[:, None], -layer.pulse.running_mean.double() * scale
    return matrix.to(kernels.dtype), bias.to(kernels.dtype)


def gates_of(layer: DSTSLayer) -> list[Tensor]:
    """Frozen gates of each neuron, ``N`` tensors of shape ``(C,)``."""
    return [decide_gates(neuron.gate) for neuron in layer.neurons]
