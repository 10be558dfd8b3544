"""Pulses, by which a sample chooses its neuron (METHOD 1.1).

One class a kind, registered under the name that the argument ``pulse`` of a neck takes. It says how pulses are computed
and what is left of that in the test, so that nothing else has to know it.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Callable

import torch
from mmengine.registry import Registry
from torch import Tensor, nn

from .precision import at_least_single
from .recomputation import is_repetition

#: Kinds of pulses by name.
PULSES = Registry('pulse')


def build_pulse(num_neurons: int, kind: str = 'centered', scale: float = 0.5, **options: Any) -> Pulse:
    """The pulses of a layer.

    Args:
        num_neurons: Number of neurons ``N``.
        kind: Name of a class in :data:`PULSES`. Defaults to ``'centered'``.
        scale: See :class:`CenteredPulse`; other kinds may leave it alone. Defaults to 0.5.
        **options: Further arguments of the class.

    Raises:
        ValueError: If there is no such kind, or ``scale`` is not positive.
    """
    if kind not in PULSES.module_dict:
        raise ValueError(f'pulse must be one of {tuple(PULSES.module_dict)}, got {kind!r}')
    if scale <= 0:
        raise ValueError(f'pulse_scale must be positive, got {scale}')
    return PULSES.module_dict[kind](num_neurons, scale, **options)


class Pulse(nn.Module):
    """Pulses of ``N`` neurons, without the scoring convolution (METHOD 1.1 and its first identity).

    The notes define ``v_i = sum of all elements of conv(X; m_i)``. A sum over the outputs of a 1x1x1
    convolution is linear in the pooled input, so ``v_i = <sum_out m_i, sum_thw X>``: the same number for
    ``O(C THW + N C)`` a sample. What a kind makes of these numbers is its method :meth:`normalise`, what is left of
    that after training its method :meth:`fold`; a kind without the latter trains, but cannot be deployed.

    Args:
        num_neurons: Number of neurons ``N``.
        scale: See :class:`CenteredPulse`.
    """

    #: Parameters of this module that decide, by name (METHOD 2).
    upstream_parameter_names: tuple[str, ...] = ()
    _version = 3  # 1 had no learned factor, 2 its logarithm over where it started from

    def __init__(self, num_neurons: int, scale: float) -> None:
        super().__init__()

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any) -> Pulse:
        return super()._apply(at_least_single(fn), *args)

    def forward(self, x: Tensor, kernels: Tensor) -> Tensor:
        """Pulses of a batch.

        Args:
            x: Feature map, shape ``(B, C_in, T, H, W)``.
            kernels: Scoring kernels summed over their output channels and stacked, shape ``(N, C_in)``, times
                ``C_out`` terms each: see :meth:`DSTSLayer.scoring_matrix`.

        Returns:
            Pulses in at least float32, shape ``(B, N)``.
        """
        # Thousands of terms: half precision would overflow or round the differences away.
        dtype = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(device_type=x.device.type, enabled=False):
            pooled = x.sum(dim=(2, 3, 4), dtype=dtype)
            sums = pooled @ kernels.to(dtype).t()
        # C_out == C_in, since layers keep the shape.
        return self.normalise(sums, x[0].numel())

    def normalise(self, sums: Tensor, terms: int) -> Tensor:
        """Pulses of this kind, shape ``(B, N)``.

        Args:
            sums: ``v`` as the notes define it, shape ``(B, N)``.
            terms: Number of terms ``C_out T H W`` of each of these sums.
        """
        raise NotImplementedError

    def fold(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """All that decides in the test, as one affine map of the average feature (METHOD 1, "Test time").

        Args:
            matrix: Float64, shape ``(N, C)``; times the average feature over time and space it is ``sums / terms``.

        Returns:
            Matrix ``(N, C)`` and bias ``(N,)`` that send each sample to the neuron of its largest pulse. A positive
            factor that all neurons have in common may be left out.
        """
        raise NotImplementedError


@PULSES.register_module('sum')
class SumPulse(Pulse):
    """The definition in the notes.

    Features after a ReLU share a large mean, which makes nearly every sample choose the same neuron.
    """

    def normalise(self, sums: Tensor, terms: int) -> Tensor:
        """The sums as they are."""
        return sums

    def fold(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """The mean has the same largest entry."""
        return matrix, matrix.new_zeros(len(matrix))


@PULSES.register_module('mean')
class MeanPulse(Pulse):
    """The sum over its number of terms: a scale that depends neither on the width nor on the size of the map."""

    def normalise(self, sums: Tensor, terms: int) -> Tensor:
        """The means."""
        return sums / terms

    def fold(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing to add."""
        return matrix, matrix.new_zeros(len(matrix))


@PULSES.register_module('centered')
class CenteredPulse(Pulse):
    """The mean, centred and scaled for each neuron by running statistics, times a learned factor.

    That takes the mean away that features share after a ReLU, so that every neuron starts equally likely whatever the
    scale of the features. It divides the scale of ``m`` out, by which the other kinds can outgrow the Gumbel noise, so
    there is a learned factor in its place. It starts small: at first noise sends every neuron samples of all kinds, and
    they learn what all samples have in common; as training makes routing sure, each goes on with its own
    (docs/evidence.md).

    Statistics are constants to autograd, move in training mode only, are cumulative at first and exponential later, and
    are kept per process, like those of a BatchNorm.

    Args:
        num_neurons: Number of neurons ``N``.
        scale: What the learned factor starts from, positive: the standard deviation of a pulse, where that of the
            Gumbel noise is 1.28.
        momentum: Weight of the newest batch in the running statistics. Defaults to 0.05.
        eps: Added to the running variance. Defaults to 1e-12.

    Attributes:
        log_scale: The learned factor is ``exp(3 log_scale)``; a scalar. Upstream. Only with more than one neuron.
    """

    #: How much faster than its logarithm's own rate the factor moves: noise is to give way within a short training.
    SPEED = 3.0

    def __init__(self, num_neurons: int, scale: float, momentum: float = 0.05, eps: float = 1e-12) -> None:
        super().__init__(num_neurons, scale)
        self.momentum = momentum
        self.eps = eps
        if num_neurons > 1:
            self.log_scale = nn.Parameter(torch.tensor(scale).log() / self.SPEED)
            self.upstream_parameter_names = ('log_scale',)
        self.register_buffer('running_mean', torch.zeros(num_neurons))
        self.register_buffer('running_var', torch.ones(num_neurons))
        self.register_buffer('num_batches_tracked', torch.tensor(0, dtype=torch.long))
        # Pulses and statistics of the latest training passes, for those that activation checkpointing repeats.
        self._passes: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=8)

    def normalise(self, sums: Tensor, terms: int) -> Tensor:
        """Of unit variance over the training data, times the factor."""
        pulse = sums / terms
        mean, variance = self._statistics(pulse.detach()) if self.training else (self.running_mean, self.running_var)
        pulse = (pulse - mean.to(pulse.dtype)) * torch.rsqrt(variance.to(pulse.dtype) + self.eps)
        return pulse * self.scale.to(pulse.dtype)

    def fold(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Centring and scaling; the factor is positive and the same for all neurons."""
        scale = torch.rsqrt(self.running_var.double() + self.eps)
        return matrix * scale[:, None], -self.running_mean.double() * scale

    @property
    def scale(self) -> Tensor:
        """Factor of the centred pulses, a positive scalar."""
        if not self.upstream_parameter_names:
            return torch.ones(())  # nothing to choose
        return (self.SPEED * self.log_scale).exp()

    def _statistics(self, pulse: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance for a training pass. They move with its batch, but once only: where activation
        checkpointing repeats the pass, it has to decide by what it decided by the first time.
        """
        if not is_repetition():
            self._track(pulse)
            self._passes.append((pulse, self.running_mean.clone(), self.running_var.clone()))
            return self._passes[-1][1:]
        for known, *statistics in reversed(self._passes):
            # Kernels of a GPU need not repeat the last digits.
            room = 1e-4 * float(known.nan_to_num().abs().max())
            if known.shape == pulse.shape and torch.allclose(known, pulse, rtol=0, atol=room, equal_nan=True):
                return statistics
        raise RuntimeError(
            "activation checkpointing repeats a pass of a DSTS layer with pulse='centered' that is not among the last "
            f'{len(self._passes)}, so its statistics are not known any more: leave the neck out of '
            "activation_checkpointing, or set pulse='mean'"
        )

    @torch.no_grad()
    def _track(self, pulse: Tensor) -> None:
        self.num_batches_tracked += 1
        # Cumulative until the exponential average has enough behind it: the first batch is centred already.
        weight = (1.0 / self.num_batches_tracked).clamp(min=self.momentum).to(pulse.dtype)
        shift = pulse.mean(dim=0) - self.running_mean
        variance = pulse.var(dim=0, unbiased=False)
        self.running_var.copy_((1 - weight) * (self.running_var + weight * shift.square()) + weight * variance)
        self.running_mean.add_(weight * shift)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *args: Any) -> None:
        """Load, weights of earlier versions with the factor that they were trained with."""
        if self.upstream_parameter_names and f'{prefix}log_scale' not in state_dict:
            gain = state_dict.pop(f'{prefix}log_gain', None)
            if gain is not None:  # version 2, in which it started from 2 unless a config said otherwise
                state_dict[f'{prefix}log_scale'] = (gain + torch.tensor(2.0, dtype=gain.dtype).log()) / self.SPEED
            elif local_metadata.get('version', 1) < 2:
                state_dict[f'{prefix}log_scale'] = torch.zeros(())
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)
