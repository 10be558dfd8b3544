"""What is constant after training, folded into weights (METHOD 1, "Test time")."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from mmdsts.models.gates import decide_gates
from mmdsts.models.layer import DSTSLayer
from mmdsts.models.pulse import PULSES, Pulse


def has_constant_statistics(norm: nn.Module) -> bool:
    """Whether ``norm`` is one scale and shift per channel in evaluation: it keeps running statistics."""
    return isinstance(norm, _NormBase) and norm.running_mean is not None


def works_sample_by_sample(norm: nn.Module) -> bool:
    """Whether ``norm`` treats each sample on its own, so that it may run on any grouping of the batch."""
    return isinstance(norm, (nn.Identity, nn.GroupNorm)) or (
        isinstance(norm, _InstanceNorm) and norm.running_mean is None
    )


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
    """All that decides which neuron is active, as one affine map of the average feature (METHOD 1.1): the scoring
    kernels collapse to a matrix, and the pulses add what they fold to.

    Returns:
        Matrix ``(N, C)`` and bias ``(N,)``: the active neuron is that of the largest entry of ``matrix @ mean_thw(X) +
        bias``.

    Raises:
        ValueError: If the pulses of this layer do not say how they are folded.
    """
    if not can_fold(type(layer.pulse)):
        known = [name for name, kind in PULSES.module_dict.items() if can_fold(kind)]
        raise ValueError(
            f'cannot deploy a DSTSLayer whose pulse is {layer.pulse}, which does not say how it is folded: give its '
            f'class a method fold as mmdsts.models.pulse.Pulse describes it, or train with one of {", ".join(known)}'
        )
    kernels = layer.scoring_matrix()
    # The mean runs over outputs too, as many as there are channels.
    matrix, bias = layer.pulse.fold(kernels.double() / kernels.shape[1])
    return matrix.to(kernels.dtype), bias.to(kernels.dtype)


def can_fold(kind: type[Pulse]) -> bool:
    """Whether the last class that has a say in the pulses of a kind also says how they are folded."""
    last = next(base for base in kind.__mro__ if {'forward', 'normalise', 'fold'} & vars(base).keys())
    return 'fold' in vars(last)


def gates_of(layer: DSTSLayer) -> list[Tensor]:
    """Frozen gates of each neuron, ``N`` tensors of shape ``(C,)``."""
    return [decide_gates(neuron.gate) for neuron in layer.neurons]
