"""Each accuracy against a slow form that is plainly right."""

from __future__ import annotations

import numpy as np
import pytest

from mmdsts.evaluation.accuracy import mean_class_accuracy, rank_of_label, set_accuracy


@pytest.fixture
def scores_and_labels():
    """40 samples of 9 classes, of which 2, 5 and 8 never occur; many scores are equal."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 4, (40, 9)).astype(np.float32), rng.choice([0, 1, 3, 4, 6, 7], 40)


def order(scores):
    """Classes, best first; of equal ones the lower number first."""
    return sorted(range(len(scores)), key=lambda label: (-scores[label], label))


def test_rank_is_the_place_in_the_order(scores_and_labels):
    scores, labels = scores_and_labels
    expected = [order(row).index(label) for row, label in zip(scores, labels)]
    assert rank_of_label(scores, labels).tolist() == expected


def test_mean_over_the_classes_that_occur(scores_and_labels):
    scores, labels = scores_and_labels
    predicted = scores.argmax(1)
    assert set(predicted) - set(labels)  # classes that never occur are predicted
    shares = [np.mean(predicted[labels == label] == label) for label in sorted(set(labels))]
    mean, classes = mean_class_accuracy(rank_of_label(scores, labels) == 0, labels)
    assert classes == 6
    assert mean == pytest.approx(np.mean(shares))


def test_a_class_that_never_occurs_changes_nothing_but_its_own_errors():
    labels = np.array([0, 0, 2])
    assert mean_class_accuracy(np.array([True, False, True]), labels) == (0.75, 2)
    # The same errors, whether they go to class 0 or to a class without samples.
    for wrong in (0, 9):
        scores = np.eye(10)[[0, wrong if wrong else 2, 2]]
        assert mean_class_accuracy(rank_of_label(scores, labels) == 0, labels) == (0.75, 2)


def test_sets_against_loops(scores_and_labels):
    scores, labels = scores_and_labels
    class_sets = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    coarse, fine = [], []
    for row, label in zip(scores, labels):
        members = [other for other in range(9) if class_sets[other] == class_sets[label]]
        coarse.append(order(row)[0] in members)
        fine.append(next(other for other in order(row) if other in members) == label)
    assert set_accuracy(scores, labels, class_sets) == pytest.approx((np.mean(coarse), np.mean(fine)))
    top1 = (rank_of_label(scores, labels) == 0).mean()
    assert top1 <= min(np.mean(coarse), np.mean(fine))


def test_scores_that_are_no_numbers_are_never_right():
    scores = np.full((4, 3), np.nan)
    scores[3] = [np.nan, 1, 0]  # one class has no number, the right one has
    labels = np.array([0, 1, 2, 1])
    assert rank_of_label(scores, labels).tolist() == [3, 3, 3, 0]
    assert set_accuracy(scores, labels, np.zeros(3, int)) == (0.25, 0.25)
