"""Classes beside the one that they are most often mistaken for or by."""

from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np


class Pair(NamedTuple):
    """A class and its most confused sibling.

    Attributes:
        label: The class.
        sibling: The other; ``None`` where the class is confused with none.
        clips: Number of clips of the class.
        correct: How many of them are right.
        mistaken: How many of them are taken for the sibling.
        returned: How many clips of the sibling are taken for the class.
        sibling_clips: Number of clips of the sibling.
        shared: By layer, the share of their clips that go through the same neurons; empty without a sibling, or where
            it has no clips.
        neurons: By layer, the neurons that take a tenth or more of the clips of both.
    """

    label: int
    sibling: int | None
    clips: int
    correct: int
    mistaken: int
    returned: int
    sibling_clips: int
    shared: tuple
    neurons: tuple


def shares_by_class(labels: np.ndarray, neurons: np.ndarray, num_classes: int, num_neurons: int) -> np.ndarray:
    """Share of each class's clips that go through each neuron.

    Args:
        labels: Shape ``(n,)``.
        neurons: Neuron of each clip by layer, shape ``(L, n)``.
        num_classes: Number of classes.
        num_neurons: Number of neurons of a layer ``N``.

    Returns:
        Shape ``(L, num_classes, N)``; zero for a class without clips.
    """
    counts = np.zeros((len(neurons), num_classes, num_neurons))
    for layer, chosen in zip(counts, neurons):
        np.add.at(layer, (labels, chosen), 1)
    return counts / np.maximum(counts.sum(axis=2, keepdims=True), 1)


def overlap(shares: np.ndarray, a: int, b: int) -> tuple:
    """By layer, how much of two classes goes through the same neurons: 0 for none, 1 for all alike."""
    return tuple(np.minimum(shares[:, a], shares[:, b]).sum(axis=1).tolist())


def confused_pairs(
    labels: np.ndarray, predictions: np.ndarray, shares: np.ndarray, class_sets: Sequence[int] | None = None
) -> list[Pair]:
    """Each class that has clips with the sibling that it is most confused with, most confused first.

    Two classes are as confused as the share of the one taken for the other and the share of the other taken for
    the one, added.

    Args:
        labels: Shape ``(n,)``.
        predictions: Shape ``(n,)``.
        shares: Of :func:`shares_by_class`.
        class_sets: Set of each class; siblings are of the same set. Defaults to None: any other class is a sibling.
    """
    num_classes = shares.shape[1]
    confusion = np.zeros((num_classes, num_classes), dtype=int)
    np.add.at(confusion, (labels, predictions), 1)
    clips = confusion.sum(axis=1)
    rates = confusion / np.maximum(clips, 1)[:, None]
    rates = rates + rates.T
    np.fill_diagonal(rates, 0)
    if class_sets is not None:
        sets = np.asarray(class_sets)
        rates = rates * (sets[:, None] == sets[None])
    pairs = []
    for label in np.flatnonzero(clips):
        sibling = int(rates[label].argmax())
        found = rates[label, sibling] > 0
        comparable = found and clips[sibling]
        pairs.append(
            Pair(
                int(label),
                sibling if found else None,
                int(clips[label]),
                int(confusion[label, label]),
                int(confusion[label, sibling]) if found else 0,
                int(confusion[sibling, label]) if found else 0,
                int(clips[sibling]) if found else 0,
                overlap(shares, label, sibling) if comparable else (),
                _common(shares, label, sibling) if comparable else (),
            )
        )
    return sorted(pairs, key=lambda pair: -rates[pair.label].max())


def _common(shares: np.ndarray, a: int, b: int) -> tuple:
    both = np.minimum(shares[:, a], shares[:, b])
    return tuple(tuple(np.flatnonzero(layer >= 0.1).tolist()) for layer in both)


def sibling_overlap(
    pairs: list[Pair], shares: np.ndarray, class_sets: Sequence[int] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean overlap, by layer, of classes with their most confused siblings and with their other siblings.

    Args:
        pairs: Of :func:`confused_pairs`.
        shares: Of :func:`shares_by_class`.
        class_sets: As for :func:`confused_pairs`.

    Returns:
        Two arrays of shape ``(L,)``; NaN where there is nothing to average.
    """
    known = [pair.label for pair in pairs]
    sets = np.zeros(shares.shape[1]) if class_sets is None else np.asarray(class_sets)
    confused = [pair.shared for pair in pairs if pair.shared]
    others = [
        overlap(shares, pair.label, other)
        for pair in pairs
        for other in known
        if pair.sibling is not None and other not in (pair.label, pair.sibling) and sets[other] == sets[pair.label]
    ]
    nothing = np.full(len(shares), np.nan)
    return tuple(np.mean(found, axis=0) if found else nothing for found in (confused, others))
