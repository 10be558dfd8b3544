import math

import numpy as np
import pytest

from mmdsts.analysis.specialization.statistics import (
    accuracy_lost,
    counts_of,
    entropy,
    information_by_chance,
    mutual_information,
    neurons_in_use,
)


def test_counts():
    assert counts_of(np.array([0, 2, 2]), np.array([1, 0, 1])).tolist() == [[0, 1], [0, 0], [1, 1]]


def test_entropy_in_bits():
    assert entropy(np.array([0, 1, 2, 3])) == 2
    assert entropy(np.array([3, 3, 3])) == 0
    assert neurons_in_use(np.array([0, 1, 2, 3] * 5)) == 4
    assert neurons_in_use(np.array([1, 1])) == 1


def test_a_bijection_tells_everything():
    labels = np.random.default_rng(0).integers(0, 5, 400)
    assert mutual_information((labels * 3) % 5, labels) == pytest.approx(entropy(labels))


def test_a_known_noisy_channel():
    """A fair bit that arrives turned over in a quarter of the cases: 1 - H(1/4) bits."""
    a, b = np.array([0] * 400 + [1] * 400), np.array([0] * 300 + [1] * 100 + [1] * 300 + [0] * 100)
    expected = 1 + 0.25 * math.log2(0.25) + 0.75 * math.log2(0.75)
    assert mutual_information(a, b) == pytest.approx(expected)


def test_independent_values_tell_nothing_but_what_chance_gives():
    generator = np.random.default_rng(1)
    inside = 0
    for seed in range(40):
        a, b = generator.integers(0, 6, 480), generator.integers(0, 24, 480)
        found, chance = mutual_information(a, b), information_by_chance(a, b, draws=100, seed=seed)
        inside += chance.low <= found <= chance.high
        # Counts of few samples are biased by (N - 1)(K - 1) / 2n nats.
        assert chance.mean == pytest.approx(5 * 23 / (2 * 480) / math.log(2), rel=0.15)
    assert 34 <= inside <= 40
    even = np.tile(np.arange(6), 24), np.repeat(np.arange(24), 6)
    assert mutual_information(*even) == pytest.approx(0, abs=1e-12)


def test_what_is_left_for_one_who_knows_the_set():
    sets = np.repeat([0, 1], 200)
    labels = sets * 2 + np.tile([0, 1], 200)
    assert mutual_information(sets, labels) == pytest.approx(1)
    assert mutual_information(sets, labels, within=sets) == pytest.approx(0, abs=1e-12)
    assert mutual_information(labels, labels, within=sets) == pytest.approx(1)
    chance = information_by_chance(labels, labels, within=sets)
    assert chance.high < 0.05  # dealt out within sets, neurons still tell the set, which does not count
    total = mutual_information(labels, labels)
    assert total == pytest.approx(mutual_information(labels, sets) + mutual_information(labels, labels, within=sets))


def test_accuracy_lost_with_its_interval():
    before = np.array([True] * 80 + [False] * 20)
    after = np.array([True] * 50 + [False] * 40 + [True] * 10)
    lost = accuracy_lost(before, after)
    assert lost.mean == pytest.approx(0.2)
    error = math.sqrt(0.3 + 0.1 - 0.2**2) / 10  # 30 clips lose, 10 gain
    assert lost.low == pytest.approx(0.2 - 1.96 * error, abs=0.02)
    assert lost.high == pytest.approx(0.2 + 1.96 * error, abs=0.02)
    same, few = accuracy_lost(before, before), accuracy_lost(before[:2], before[:2])
    assert same.mean == few.mean == 0
    assert -0.05 < same.low < 0 < same.high < 0.05
    assert few.high > 0.3  # two clips say little
