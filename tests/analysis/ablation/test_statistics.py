import math

import numpy as np
import pytest
from scipy import stats

from mmdsts.analysis.ablation.statistics import (
    Interval,
    compare,
    paired_interval,
    rank,
    seed_interval,
    spread,
)


def table(rng, seeds, clips, seed_std, clip_std, rest_std, mean=0.0):
    """A two-way table of known variances."""
    return (
        mean
        + seed_std * rng.normal(size=(seeds, 1))
        + clip_std * rng.normal(size=clips)
        + rest_std * rng.normal(size=(seeds, clips))
    )


def test_interval_over_seeds_is_students():
    correct = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]], bool)
    own = seed_interval(correct)
    expected = stats.ttest_1samp([0.75, 0.5, 1.0], 0).confidence_interval(0.95)
    assert own == pytest.approx(Interval(0.75, expected.low, expected.high))
    with pytest.raises(ValueError, match='one seed'):
        seed_interval(correct[:1])


def test_without_an_effect_of_the_seed_the_interval_is_that_of_the_clips():
    clips = np.random.default_rng(0).normal(0.3, 1, 2000)
    same = np.stack([clips] * 4)
    found = paired_interval(same, np.zeros_like(same))
    expected = stats.ttest_1samp(clips, 0).confidence_interval(0.95)
    assert found == pytest.approx(Interval(clips.mean(), expected.low, expected.high), abs=0.003)


def test_without_an_effect_of_the_clip_the_interval_is_that_of_the_seeds():
    means = np.linspace(0.1, 0.5, 12)
    same = np.repeat(means[:, None], 50, axis=1)
    found = paired_interval(same, np.zeros_like(same))
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert found == pytest.approx(Interval(0.3, expected.low, expected.high), abs=0.01)


@pytest.mark.parametrize(
    'seeds, clips, stds',
    [(5, 400, (0.05, 0.2, 0.6)), (5, 100, (0.0, 0.3, 0.5)), (3, 200, (0.1, 0.3, 0.5)), (20, 200, (0.03, 0.3, 0.5))],
)
def test_interval_covers_the_truth_as_often_as_it_says(seeds, clips, stds):
    rng, covered = np.random.default_rng(1), 0
    for trial in range(300):
        found = paired_interval(table(rng, seeds, clips, *stds, mean=0.1), np.zeros((seeds, clips)), 400, trial)
        covered += found.low <= 0.1 <= found.high
    print(f'{seeds} seeds, {clips} clips: the truth lies in {covered / 300:.0%} of 300 intervals')
    assert 0.92 <= covered / 300 <= 0.995


def test_a_plain_percentile_interval_of_five_seeds_would_be_too_narrow():
    """Where nothing but the seed makes a difference, and so at its worst."""
    rng = np.random.default_rng(6)
    means = rng.normal(size=(2000, 5))
    low, high = np.quantile(means[:, rng.integers(5, size=(400, 5))].mean(axis=2), [0.025, 0.975], axis=1)
    plain = ((low <= 0) & (0 <= high)).mean()
    found = [paired_interval(np.repeat(row[:, None], 2, axis=1), np.zeros((5, 2)), 400) for row in means[:400]]
    ours = np.mean([interval.low <= 0 <= interval.high for interval in found])
    print(f'5 seeds: the truth lies in {plain:.0%} of plain percentile intervals, and in {ours:.0%} of ours')
    assert plain < 0.88
    assert ours > 0.92


def test_what_both_share_cancels():
    rng = np.random.default_rng(2)
    shared = rng.random((6, 300)) < rng.random(300)  # clips of very different difficulty
    better = shared.copy()
    better[:, :15] = True
    paired, unpaired = paired_interval(better, shared), seed_interval(shared)
    assert paired.excludes_zero
    assert paired.mean == pytest.approx(better.mean() - shared.mean())
    assert paired.width < 0.06 < unpaired.width + paired.width
    other = paired_interval(better, shared[:, rng.permutation(300)])
    assert other.width > 2 * paired.width
    assert paired_interval(shared, shared) == Interval(0, 0, 0)


def test_spread_finds_the_variances():
    found = spread(table(np.random.default_rng(3), 400, 500, 0.5, 0.3, 0.8))
    assert found == pytest.approx((0.25, 0.09, 0.64), rel=0.15)
    assert min(spread(np.random.default_rng(4).normal(size=(3, 50)))) >= 0


def runs(array):
    return dict(enumerate(array))


def test_comparison_is_over_the_seeds_that_both_have():
    rng = np.random.default_rng(5)
    base, better = rng.random((4, 200)) < 0.5, rng.random((4, 200)) < 0.9
    correct = dict(base=runs(base), better={1: better[1], 3: better[3], 9: better[0]}, none={7: better[2]})
    (found,) = compare(correct, 'base')
    assert found.name == 'better'
    assert found.seeds == 2
    assert found.accuracy == pytest.approx(better[[1, 3]].mean())
    assert found.difference.mean == pytest.approx(better[[1, 3]].mean() - base[[1, 3]].mean())
    assert found.baseline_accuracy == pytest.approx(base[[1, 3]].mean())


def test_an_open_comparison_says_how_much_would_decide_it():
    rng = np.random.default_rng(3)
    # A few points, less than 3 seeds and 200 clips resolve.
    base, other = (rng.random((3, 200)) < p for p in (0.70, 0.74))
    (found,) = compare(dict(base=runs(base), other=runs(other)), 'base')
    assert not found.difference.excludes_zero
    assert found.more_seeds > 3
    assert found.more_clips > 200
    # With twice as many and a difference of this size, it mostly is decided; as it stands, it mostly is not.
    for clips, low, high in ((2 * found.more_clips, 14, 20), (200, 0, 8)):
        pairs = [[rng.random((3, clips)) < p for p in (0.70 + abs(found.difference.mean), 0.70)] for _ in range(20)]
        assert low <= sum(paired_interval(*pair, 300).excludes_zero for pair in pairs) <= high
    (same,) = compare(dict(base=runs(base), same=runs(base)), 'base')
    assert (same.difference.mean, same.more_seeds, same.more_clips) == (0, None, None)


def test_ranking_is_refused_where_seeds_of_the_baseline_differ_by_more():
    def group(*accuracies):
        return np.stack([np.arange(1000) < 1000 * accuracy for accuracy in accuracies])

    lucky, other = group(0.69, 0.25, 0.41, 0.58), group(0.72, 0.28, 0.44, 0.60)
    comparisons = compare(dict(base=runs(lucky), other=runs(other)), 'base')
    refused = rank(lucky, comparisons)
    assert not refused.allowed
    assert refused.largest == pytest.approx(0.0275)
    assert refused.baseline.mean == pytest.approx(0.4825)
    assert refused.seeds > 100
    std = lucky.mean(axis=1).std(ddof=1)
    width = [2 * stats.t.ppf(0.975, s - 1) * std / math.sqrt(s) for s in (refused.seeds - 1, refused.seeds)]
    assert width[0] > refused.largest >= width[1] * 0.98
    assert refused.clips is None  # no number of clips takes away what the seeds do

    steady, better = group(0.70, 0.71, 0.70, 0.71), group(0.80, 0.81, 0.80, 0.81)
    allowed = rank(steady, compare(dict(base=runs(steady), better=runs(better)), 'base'))
    assert allowed.allowed
    assert allowed.baseline.width < 0.03
    alone = rank(steady[:1], compare(dict(base=runs(steady[:1]), better=runs(better[:1])), 'base'))
    assert not alone.allowed
    assert alone.baseline is None
    assert alone.seeds == 2


def test_one_clip_does_not_say_how_many_would_do(recwarn):
    assert rank(np.array([[True], [False]]), [])[3:] == (None, None)
    assert not recwarn.list


def test_tables_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r'shapes \(2, 5\) and \(2, 6\)'):
        paired_interval(np.zeros((2, 5)), np.zeros((2, 6)))
