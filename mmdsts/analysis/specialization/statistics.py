"""What a routing says about classes, and what it would say by chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A figure with the bounds that 95 % of its draws lie between."""

    mean: float
    low: float
    high: float


def counts_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How often each value of ``a`` meets each value of ``b``.

    Args:
        a: Whole numbers from 0, shape ``(n,)``.
        b: The same.

    Returns:
        Shape ``(max(a) + 1, max(b) + 1)``.
    """
    width = int(b.max()) + 1
    flat = np.bincount(a * width + b, minlength=(int(a.max()) + 1) * width)
    return flat.reshape(-1, width)


def entropy(a: np.ndarray) -> float:
    """Entropy of the values of ``a``, whole numbers from 0, in bits."""
    shares = np.bincount(a) / len(a)
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def mutual_information(a: np.ndarray, b: np.ndarray, within: np.ndarray | None = None) -> float:
    """How much ``a`` tells about ``b``, in bits, from counts.

    Counts of few samples find something even between independent values: compare with
    :func:`information_by_chance`.

    Args:
        a: Whole numbers from 0, shape ``(n,)``.
        b: The same.
        within: Groups of the samples; what is left for one who knows the group is returned then. Defaults to None.

    Returns:
        ``I(a; b)``, or ``I(a; b | within)``.
    """
    if within is not None:
        groups = [within == value for value in np.unique(within)]
        return sum(mutual_information(a[group], b[group]) * group.mean() for group in groups)
    joint = counts_of(a, b) / len(a)
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log2(joint[seen] / independent[seen])).sum())


def information_by_chance(
    a: np.ndarray, b: np.ndarray, within: np.ndarray | None = None, draws: int = 200, seed: int = 0
) -> Interval:
    """:func:`mutual_information` where ``a`` is dealt out anew at random, among the samples of each group.

    Args:
        a: As there.
        b: As there.
        within: As there. Defaults to None, one group.
        draws: How often. Defaults to 200.
        seed: Defaults to 0.
    """
    generator = np.random.default_rng(seed)
    groups = [np.arange(len(a))] if within is None else [np.flatnonzero(within == v) for v in np.unique(within)]
    values = []
    for _ in range(draws):
        dealt = np.empty_like(a)
        for group in groups:
            dealt[group] = generator.permutation(a[group])
        values.append(mutual_information(dealt, b, within))
    return _interval(np.array(values))


def accuracy_lost(before: np.ndarray, after: np.ndarray, draws: int = 1000, seed: int = 0) -> Interval:
    """Share of clips right before less that after, with an interval over clips.

    A Bayesian bootstrap with half a clip more of each kind (lost, gained, neither): a plain one says of two clips
    that stay right, with certainty, that nothing is ever lost.

    Args:
        before: Whether each clip is right, bool, shape ``(n,)``.
        after: The same clips after a change.
        draws: How often shares are drawn. Defaults to 1000.
        seed: Defaults to 0.

    Returns:
        The loss found, not the mean of the draws, between the bounds of 95 % of them.
    """
    lost = before.astype(int) - after.astype(int)
    counts = np.array([(lost == value).sum() for value in (-1, 0, 1)])
    shares = np.random.default_rng(seed).dirichlet(counts + 0.5, size=draws)
    return _interval(shares[:, 2] - shares[:, 0])._replace(mean=float(lost.mean()))


def neurons_in_use(neurons: np.ndarray) -> float:
    """Effective number of neurons, ``2 ** entropy`` of their use: ``N`` if all are used alike, 1 if one takes all."""
    return float(2 ** entropy(neurons))


def _interval(values: np.ndarray) -> Interval:
    low, high = np.percentile(values, (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high))
