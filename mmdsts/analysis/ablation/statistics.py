"""Paired statistics: what two ways to train differ by, how sure that is, and whether they may be ranked at all.

Everything here takes *correctness*, bool, shape ``(S, n)``: whether run ``s`` of ``S`` seeds classified test clip
``i`` correctly. Runs of one seed are paired, and so are the clips; both are samples of what could have been drawn, so
an interval must cover both. With effects ``a_s`` of the seed, ``b_i`` of the clip and a rest ``e_si``, the mean of
a table has the variance ``var(a) / S + var(b) / n + var(e) / (S n)``.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Sequence

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
DRAWS = 4000

# More than this is no advice.
_MOST = 1_000_000


class Interval(NamedTuple):
    """A mean and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0

    @property
    def width(self) -> float:
        """From one end to the other."""
        return self.high - self.low


class Spread(NamedTuple):
    """Variances of the two-way table: of the seeds' effects, of the clips', and of the rest, none negative."""

    seed: float
    clip: float
    rest: float


class Comparison(NamedTuple):
    """A variant beside the baseline.

    Attributes:
        name: Name of the variant.
        seeds: Number of seeds that both were run with.
        accuracy: Mean over these.
        baseline_accuracy: The baseline's over the same.
        difference: Of the two accuracies, paired, with its interval over seeds and clips.
        more_seeds: How many seeds, with these clips, would bring the interval to one side of zero if the difference
            is what was measured; ``None`` where no number would.
        more_clips: How many clips, with these seeds, likewise.
    """

    name: str
    seeds: int
    accuracy: float
    baseline_accuracy: float
    difference: Interval
    more_seeds: int | None
    more_clips: int | None


class Ranking(NamedTuple):
    """Whether the variants may be ranked.

    Attributes:
        allowed: False where the interval of the baseline's own seeds is wider than every difference to it: then
            luck of the seed is larger than what is compared.
        baseline: The baseline's mean and its interval over seeds alone; ``None`` for one seed, which has none.
        largest: The largest absolute difference.
        seeds: Seeds that would do if ``largest`` stays; ``None`` where no number would.
        clips: Test clips that would do, with these seeds; ``None`` where no number would.
    """

    allowed: bool
    baseline: Interval | None
    largest: float
    seeds: int | None
    clips: int | None


def seed_interval(correct: np.ndarray) -> Interval:
    """Mean accuracy and its interval over seeds, for these clips: Student's t.

    Raises:
        ValueError: There is one seed only.
    """
    means = np.asarray(correct, float).mean(axis=1)
    if len(means) < 2:
        raise ValueError('one seed has no interval over seeds')
    half = _t(len(means) - 1) * float(means.std(ddof=1)) / math.sqrt(len(means))
    mean = float(means.mean())
    return Interval(mean, mean - half, mean + half)


def paired_interval(first: np.ndarray, second: np.ndarray, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Mean of ``first - second`` and its interval over seeds and clips, by a bootstrap on two levels.

    Seeds and clips are resampled, each with what both variants did with them; their effects add up. Seeds are few,
    and a plain percentile interval of five covers the truth in 82 % of the cases, not 95, where the seed alone makes
    the difference: so one seed fewer is drawn than there are, which makes the variance unbiased, and the interval is
    stretched by the ratio of Student's t to the normal quantile at Satterthwaite's degrees of freedom. The rest counts
    with the seeds and with the clips, once too often, so that the interval is rather too wide than too narrow.

    Args:
        first: Correctness, shape ``(S, n)``.
        second: Of the same shape; same seeds, same clips.
        draws: Resamples. Defaults to 4000.
        seed: Seed of the resampling. Defaults to 0.

    Returns:
        The interval; with a single seed over clips alone.
    """
    difference = _difference(first, second)
    seeds, clips = difference.shape
    by_seed, by_clip = difference.mean(axis=1), difference.mean(axis=0)
    mean = float(difference.mean())
    rng = np.random.default_rng(seed)
    drawn = _resampled_means(by_clip, clips, draws, rng)
    if seeds > 1:
        drawn = drawn + _resampled_means(by_seed, seeds - 1, draws, rng) - mean
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    stretch = _t(_degrees_of_freedom(by_seed, by_clip)) / float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    return Interval(mean, mean + stretch * (low - mean), mean + stretch * (high - mean))


def spread(table: np.ndarray) -> Spread:
    """Estimate the variances of a two-way table, shape ``(S, n)`` with ``S, n >= 2``, by the method of moments."""
    table = np.asarray(table, float)
    seeds, clips = table.shape
    by_seed, by_clip = table.mean(axis=1), table.mean(axis=0)
    rest = table - by_seed[:, None] - by_clip + table.mean()
    rest = np.square(rest).sum() / ((seeds - 1) * (clips - 1))
    return Spread(
        *(max(0.0, float(v)) for v in (by_seed.var(ddof=1) - rest / clips, by_clip.var(ddof=1) - rest / seeds, rest))
    )


def compare(correct: dict[str, dict[int, np.ndarray]], baseline: str) -> list[Comparison]:
    """Every other variant beside the baseline, in the order given.

    Args:
        correct: Name of a variant -> seed -> correctness of each clip, bool, shape ``(n,)``.
        baseline: Name of the baseline.

    Returns:
        A comparison for each variant that shares a seed with the baseline.
    """
    comparisons = []
    for name, runs in correct.items():
        shared = sorted(set(runs) & set(correct[baseline]))
        if name == baseline or not shared:
            continue
        first, second = (np.stack([side[seed] for seed in shared]) for side in (runs, correct[baseline]))
        difference = paired_interval(first, second)
        more = (None, None) if difference.excludes_zero else _enough(_difference(first, second))
        comparisons.append(Comparison(name, len(shared), float(first.mean()), float(second.mean()), difference, *more))
    return comparisons


def rank(baseline: np.ndarray, comparisons: Sequence[Comparison]) -> Ranking:
    """Decide whether variants may be ranked by their differences to the baseline.

    Args:
        baseline: Correctness of the baseline, shape ``(S, n)``.
        comparisons: Of :func:`compare`.
    """
    largest = max((abs(c.difference.mean) for c in comparisons), default=0.0)
    if len(baseline) < 2:
        return Ranking(False, None, largest, 2, None)
    own = seed_interval(baseline)
    if own.width <= largest:
        return Ranking(True, own, largest, None, None)
    seeds, clips = baseline.shape
    if clips < 2:
        return Ranking(False, own, largest, None, None)
    parts = spread(baseline)

    def width(seeds: int, clips: int) -> float:
        return 2 * _t(seeds - 1) * math.sqrt((parts.seed + parts.rest / clips) / seeds)

    # The measured width, not that of the estimated parts, has the last word on the seeds that were run.
    enough_seeds = _first(lambda s: width(s, clips) <= largest, seeds + 1)
    return Ranking(False, own, largest, enough_seeds, _first(lambda n: width(seeds, n) <= largest, clips + 1))


def _difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f'correctness of shapes {first.shape} and {second.shape}: expected one shape (S, n) for both')
    return first.astype(float) - second.astype(float)


def _t(degrees: float) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees))


def _degrees_of_freedom(by_seed: np.ndarray, by_clip: np.ndarray) -> float:
    """Satterthwaite's, of a variance that is the sum of one over seeds and one over clips."""
    parts = [(v.var(ddof=1) / len(v), len(v) - 1) for v in (by_seed, by_clip) if len(v) > 1]
    total = sum(part for part, _ in parts)
    if total == 0:
        return math.inf
    return total**2 / sum(part**2 / degrees for part, degrees in parts)


def _resampled_means(values: np.ndarray, size: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    # A few hundred at a time: all at once would be draws x clips.
    counts = (min(256, draws - first) for first in range(0, draws, 256))
    return np.concatenate([values[rng.integers(len(values), size=(count, size))].mean(axis=1) for count in counts])


def _enough(difference: np.ndarray) -> tuple[int | None, int | None]:
    """Seeds with these clips, and clips with these seeds, for an interval as wide as the measured mean is large."""
    seeds, clips = difference.shape
    mean = abs(difference.mean())
    if mean == 0 or seeds < 2 or clips < 2:
        return None, None
    parts = spread(difference)

    def half_width(seeds: int, clips: int) -> float:
        by_seed, by_clip = (parts.seed + parts.rest / clips) / seeds, (parts.clip + parts.rest / seeds) / clips
        total = by_seed + by_clip
        if total == 0:
            return 0.0
        degrees = total**2 / (by_seed**2 / (seeds - 1) + by_clip**2 / (clips - 1))
        return _t(degrees) * math.sqrt(total)

    return (
        _first(lambda s: half_width(s, clips) < mean, seeds + 1),
        _first(lambda n: half_width(seeds, n) < mean, clips + 1),
    )


def _first(holds, start: int) -> int | None:
    """Smallest number from ``start`` on for which ``holds``, which stays true from there on; ``None`` if it is huge."""
    low, high = start - 1, start
    while not holds(high):
        low, high = high, 2 * high
        if high > _MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
