"""Which neuron a sample activates: the synaptic mechanism, in training and in the test (METHOD 1.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


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
