import numpy as np
import pytest

from mmdsts.analysis.specialization.siblings import confused_pairs, overlap, shares_by_class, sibling_overlap

LABELS = np.array([0] * 10 + [1] * 5 + [2] * 4 + [3] * 4)
PREDICTIONS = np.array([0] * 6 + [1] * 3 + [2] + [1] * 4 + [0] + [0] * 4 + [3] * 4)
NEURONS = np.array([[0] * 8 + [1] * 2 + [0] * 3 + [1] * 2 + [2] * 8, [0] * 10 + [1] * 13])


@pytest.fixture
def shares():
    return shares_by_class(LABELS, NEURONS, 5, 3)


def test_shares_by_class(shares):
    assert shares[0].tolist() == [[0.8, 0.2, 0], [0.6, 0.4, 0], [0, 0, 1], [0, 0, 1], [0, 0, 0]]
    assert shares[1].argmax(axis=1).tolist() == [0, 1, 1, 1, 0]
    assert overlap(shares, 0, 1) == pytest.approx((0.8, 0))


def test_the_most_confused_class_of_all(shares):
    pairs = confused_pairs(LABELS, PREDICTIONS, shares)
    assert [(pair.label, pair.sibling) for pair in pairs] == [(0, 2), (2, 0), (1, 0), (3, None)]  # class 4 has no clip
    assert pairs[0][:7] == (0, 2, 10, 6, 1, 4, 4)
    assert pairs[2].shared == pytest.approx((0.8, 0))
    assert pairs[2].neurons == ((0, 1), ())
    assert pairs[3].shared == ()


def test_siblings_are_of_the_same_set(shares):
    pairs = confused_pairs(LABELS, PREDICTIONS, shares, class_sets=[7, 7, 2, 2, 2])
    assert [(pair.label, pair.sibling) for pair in pairs] == [(0, 1), (1, 0), (2, None), (3, None)]


def test_a_sibling_without_clips_shares_nothing_that_could_be_told(shares):
    pairs = confused_pairs(LABELS[:10], np.full(10, 4), shares_by_class(LABELS[:10], NEURONS[:, :10], 5, 3))
    assert pairs == [(0, 4, 10, 0, 10, 0, 0, (), ())]
    assert np.isnan(sibling_overlap(pairs, shares, None)[0]).all()


def test_overlap_of_confused_and_other_siblings(shares):
    pairs = confused_pairs(LABELS, PREDICTIONS, shares)
    confused, other = sibling_overlap(pairs, shares, None)
    assert confused == pytest.approx([(0 + 0 + 0.8) / 3, 0])
    # 0 with 1 and 3, 2 with 1 and 3, 1 with 2 and 3
    assert other == pytest.approx([(0.8 + 0 + 0 + 1 + 0 + 0) / 6, (0 + 0 + 1 + 1 + 1 + 1) / 6])
    assert np.isnan(sibling_overlap([], shares, None)[0]).all()
