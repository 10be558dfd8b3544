"""Which neuron a sample activates: pulses and the synaptic mechanism (METHOD 1.1 and 1.2)."""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .precision import at_least_single
from .recomputation import is_repetition

PULSES = ('sum', 'mean', 'centered')


class Routing(NamedTuple):
    """What one DSTS layer decided for a batch.

    Attributes:
        index: Active neuron of each sample, long, shape ``(B,)``.
        pulse: Pulses, shape ``(B, N)``.
        probs: Noise-free softmax of the pulses at the layer's temperature, shape ``(B, N)``.
        gates: Gates of all neurons as they were sampled, shape ``(N, C)``; None in evaluation.
    """

    index: Tensor
    pulse: Tensor
    probs: Tensor
    gates: Tensor | None = None


class Pulse(nn.Module):
    """Pulses of ``N`` neurons, without the scoring convolution (METHOD 1.1 and its first identity).

    The notes define ``v_i = sum of all elements of conv(X; m_i)``. A sum over the outputs of a 1x1x1
    convolution is linear in the pooled input, so ``v_i = <sum_out m_i, sum_thw X>``: the same number for
    ``O(C THW + N C)`` a sample.

    Features after a ReLU share a large mean. With ``'sum'`` that mean makes nearly every sample choose the
    same neuron; ``'centered'`` takes it away, so that every neuron starts equally likely whatever the scale
    of the features. That divides the scale of ``m`` out, by which ``'sum'`` and ``'mean'`` can outgrow the
    Gumbel noise, so ``'centered'`` has a learned factor in its place: it starts small enough for neurons to
    try samples, and training makes routing sure (docs/evidence.md).

    Args:
        num_neurons: Number of neurons ``N``.
        mode: ``'sum'``, the definition in the notes; ``'mean'``, the sum over its number of terms ``C_out T H
            W``; ``'centered'``, the mean, centred and scaled per neuron by running statistics, times the
            learned factor. Statistics are constants to autograd, move in training mode only, are cumulative
            at first and exponential later, and are kept per process, like those of a BatchNorm.
        scale: What the learned factor of ``'centered'`` starts from, positive: the standard deviation of a
            pulse, where that of the Gumbel noise is 1.28. Defaults to 2.
        momentum: Weight of the newest batch in the running statistics.
        eps: Added to the running variance.

    Attributes:
        log_gain: Logarithm of the learned factor over ``scale``, a scalar that starts at 0, to which weight decay
            draws it. Upstream. Only with ``'centered'`` and more than one neuron.

    Raises:
        ValueError: If ``mode`` is none of the three, or ``scale`` is not positive.
    """

    _version = 2  # 1 had no learned factor

    def __init__(
        self,
        num_neurons: int,
        mode: str = 'centered',
        scale: float = 2.0,
        momentum: float = 0.05,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        if mode not in PULSES:
            raise ValueError(f'pulse must be one of {PULSES}, got {mode!r}')
        if scale <= 0:
            raise ValueError(f'pulse_scale must be positive, got {scale}')
        self.mode = mode
        self.initial_scale = scale
        self.momentum = momentum
        self.eps = eps
        self.upstream_parameter_names: tuple[str, ...] = ()
        if mode == 'centered':
            if num_neurons > 1:
                self.log_gain = nn.Parameter(torch.zeros(()))
                self.upstream_parameter_names = ('log_gain',)
            self.register_buffer('running_mean', torch.zeros(num_neurons))
            self.register_buffer('running_var', torch.ones(num_neurons))
            self.register_buffer('num_batches_tracked', torch.tensor(0, dtype=torch.long))
            # Pulses and statistics of the latest training passes, for those that activation checkpointing repeats.
            self._passes: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=8)

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
            pulse = pooled @ kernels.to(dtype).t()
        if self.mode == 'sum':
            return pulse
        # C_out == C_in, since layers keep the shape.
        pulse = pulse / x[0].numel()
        if self.mode == 'mean':
            return pulse
        mean, variance = self._statistics(pulse.detach()) if self.training else (self.running_mean, self.running_var)
        pulse = (pulse - mean.to(dtype)) * torch.rsqrt(variance.to(dtype) + self.eps)
        return pulse * self.scale.to(dtype)

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

    @property
    def scale(self) -> Tensor:
        """Factor of the centred pulses, a positive scalar."""
        if not self.upstream_parameter_names:
            return torch.tensor(self.initial_scale)
        return self.initial_scale * self.log_gain.exp()

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *args: Any) -> None:
        """Load; weights from before there was a factor were trained with a factor of 1."""
        if self.upstream_parameter_names and local_metadata.get('version', 1) < 2:
            state_dict.setdefault(f'{prefix}log_gain', -torch.tensor(self.initial_scale).log())
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    @torch.no_grad()
    def _track(self, pulse: Tensor) -> None:
        self.num_batches_tracked += 1
        # Cumulative until the exponential average has enough behind it: the first batch is centred already.
        weight = (1.0 / self.num_batches_tracked).clamp(min=self.momentum).to(pulse.dtype)
        shift = pulse.mean(dim=0) - self.running_mean
        variance = pulse.var(dim=0, unbiased=False)
        self.running_var.copy_(
            (1 - weight) * (self.running_var + weight * shift.square()) + weight * variance
        )
        self.running_mean.add_(weight * shift)

    def extra_repr(self) -> str:
        """Arguments shown by ``print(module)``."""
        return f'mode={self.mode!r}'


def straight_through_gumbel(pulse: Tensor, temperature: float) -> Tensor:
    """One-hot choice of a neuron with the gradient of the Gumbel-Softmax (METHOD 1.2, training; in the test
    :func:`largest_pulse`).

    Unlike :func:`torch.nn.functional.gumbel_softmax` the forward value is *exactly* zero or one, which METHOD
    1.5 needs.

    Args:
        pulse: Pulses, shape ``(B, N)``. The Gumbel noise of scale 1 is drawn on its device from torch's
            generator, per sample.
        temperature: Temperature of the softmax, positive.

    Returns:
        One-hot rows, shape ``(B, N)``.
    """
    noise = -torch.empty_like(pulse).exponential_().log()
    soft = ((pulse + noise) / temperature).softmax(dim=-1)
    hard = F.one_hot(largest_pulse(soft), pulse.shape[-1]).to(soft.dtype)
    return hard + (soft - soft.detach())


def largest_pulse(pulse: Tensor) -> Tensor:
    """The neuron that the test activates: that of the largest pulse, without noise (METHOD 1.2, test).

    Args:
        pulse: Pulses, shape ``(..., N)``.

    Returns:
        Active neurons, long, shape ``(...,)``; of equal pulses one.
    """
    return pulse.argmax(dim=-1)


def active_neurons(choice: Tensor) -> Tensor:
    """Active neuron of each sample, long, shape ``(B,)``, of a one-hot choice ``(B, N)``."""
    return choice.argmax(dim=1)


def load_balance_loss(routing: Routing) -> Tensor:
    """Load-balance loss ``N * sum_i f_i p_i`` of one layer (METHOD 1, known dangers; Switch Transformer
    form).

    ``f_i`` is the share of samples that activate neuron ``i``, a constant to autograd; ``p_i`` the mean of
    the full softmax.

    Returns:
        Scalar: 1 when both are uniform, at most ``N``.
    """
    return routing.probs.shape[1] * (activation_share(routing) * routing.probs.mean(dim=0)).sum()


def activation_share(routing: Routing) -> Tensor:
    """Share of the batch that activated each neuron, shape ``(N,)``, summing to one."""
    counts = torch.bincount(routing.index, minlength=routing.probs.shape[1])
    return counts.to(routing.probs.dtype) / routing.index.numel()


def check_one_hot(choice: Tensor) -> None:
    """Check that a choice is what selection in weight space takes: one entry of one in each row, the others zero.

    Rows that are not finite pass: they make outputs that are not finite, which training notices.

    Raises:
        ValueError: If a row is not one-hot.
    """
    one_hot = F.one_hot(active_neurons(choice), choice.shape[1])
    wrong = ((choice != one_hot) & choice.isfinite()).any(dim=1).nonzero().flatten().tolist()
    if wrong:
        row = [round(entry, 4) for entry in choice[wrong[0]].tolist()]
        raise ValueError(
            f'choice must have one-hot rows, but row {wrong[0]} is {row}: each sample activates exactly one neuron. '
            'Make it by straight_through_gumbel or torch.nn.functional.one_hot'
        )


def members(index: Tensor) -> list[tuple[int, list[int]]]:
    """Active neurons with the rows of their samples, both ascending, from the active neuron of each, ``(B,)``."""
    rows: dict[int, list[int]] = {}
    for row, neuron in enumerate(index.tolist()):
        rows.setdefault(neuron, []).append(row)
    return sorted(rows.items())
