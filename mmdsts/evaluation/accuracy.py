"""Accuracies of single-label predictions, as functions of scores and labels (numpy, on the CPU).

Shapes: scores ``(S, C)`` for ``S`` samples and ``C`` classes, labels ``(S, )`` with values from 0 to ``C - 1``. Of
equal scores the class with the lower number counts as the better one, in every function, and a score that is no number
is below all others, so that a network whose output is not finite is never right by accident.
"""

from __future__ import annotations

from typing import Sequence

import numpy as np


def predicted_class(scores: np.ndarray) -> np.ndarray:
    """The class with the best score of each sample, long, shape ``(S, )``, of scores of shape ``(S, C)``."""
    return np.where(np.isnan(scores), -np.inf, scores).argmax(1)  # NaN would win np.argmax


def rank_of_label(scores: np.ndarray, labels: np.ndarray, candidates: np.ndarray | None = None) -> np.ndarray:
    """How many classes come before the right one, long, shape ``(S, )``: 0 where the prediction is right.

    Args:
        scores: Shape ``(S, C)``.
        labels: Shape ``(S, )``.
        candidates: Which classes compete for each sample, bool, shape ``(S, C)``. Defaults to None: all of them.
    """
    right = scores[np.arange(len(labels)), labels][:, None]
    before = (scores > right) | ((scores == right) & (np.arange(scores.shape[1]) < labels[:, None]))
    if candidates is not None:
        before &= candidates
    return np.where(np.isfinite(right[:, 0]), before.sum(1), scores.shape[1])


def mean_class_accuracy(correct: np.ndarray, labels: np.ndarray) -> tuple[float, int]:
    """Mean over classes of the share of a class's samples that are right.

    Only classes that occur among the labels are counted. A class that never occurs has no accuracy: that it is
    predicted somewhere is already an error of the class that was mistaken for it.

    Args:
        correct: Whether each sample is right, bool, shape ``(S, )``.
        labels: Shape ``(S, )``.

    Returns:
        The mean, from 0 to 1, and the number of classes that it is taken over.
    """
    samples = np.bincount(labels)
    hits = np.bincount(labels, weights=correct, minlength=len(samples))
    present = samples > 0
    return float(np.mean(hits[present] / samples[present])), int(present.sum())


def fit_sets(class_sets: Sequence[int], num_classes: int) -> np.ndarray:
    """Sets of a model's classes, shape ``(num_classes, )``; one that the data set does not have is in a set of its own,
    -1.
    """
    fitted = np.full(num_classes, -1)
    fitted[: len(class_sets)] = class_sets[:num_classes]
    return fitted


def best_of_set(scores: np.ndarray, labels: np.ndarray, class_sets: np.ndarray) -> np.ndarray:
    """Whether the right class is the best of its set, bool, shape ``(S, )``; arguments as for :func:`set_accuracy`."""
    return rank_of_label(scores, labels, candidates=class_sets[None] == class_sets[labels][:, None]) == 0


def set_accuracy(scores: np.ndarray, labels: np.ndarray, class_sets: np.ndarray) -> tuple[float, float]:
    """Coarse and fine accuracy of classes that come in sets (the apparatus and group of a FineGym element).

    Args:
        scores: Shape ``(S, C)``.
        labels: Shape ``(S, )``.
        class_sets: Set of each class, shape ``(C, )``.

    Returns:
        The share of samples whose predicted class is of the right set; and the share in which the right class is the
        best of its set, whatever the classes of other sets score. Neither is below the share that is right altogether.
    """
    predicted = predicted_class(scores)
    finite = np.isfinite(scores[np.arange(len(labels)), labels])
    right_set = (class_sets[predicted] == class_sets[labels]) & finite
    return float(right_set.mean()), float(best_of_set(scores, labels, class_sets).mean())
