"""Which classes are taken for which others (numpy, on the CPU)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple, Sequence

import numpy as np

from .accuracy import best_of_set


class ConfusedPair(NamedTuple):
    """Two classes of which one is taken for the other.

    Attributes:
        first: The class that is mistaken more often.
        second: The other.
        mistaken: Clips of the first that were taken for the second.
        first_clips: Clips of the first.
        returned: Clips of the second that were taken for the first.
        second_clips: Clips of the second.
    """

    first: int
    second: int
    mistaken: int
    first_clips: int
    returned: int
    second_clips: int

    def describe(self, names: Sequence[str] | None = None) -> str:
        """In words: ``'serve > smash 5 of 17, back 3 of 20'``."""
        first, second = (names[i] if names and i < len(names) else str(i) for i in self[:2])
        back = f', back {self.returned} of {self.second_clips}' if self.returned else ''
        return f'{first} > {second} {self.mistaken} of {self.first_clips}{back}'


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Clips by class (row) and prediction (column), long, shape ``(num_classes, num_classes)``.

    Args:
        labels: Shape ``(S,)``.
        predicted: Shape ``(S,)``.
        num_classes: Number of classes.
    """
    counts = np.zeros((num_classes, num_classes), dtype=int)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def most_confused(confusion: np.ndarray, count: int) -> list[ConfusedPair]:
    """The pairs of classes between which most clips are mistaken, both ways together, at most ``count``.

    Of pairs with as many clips, those come first of which these are the larger share; of the same share, those with
    lower numbers.

    Args:
        confusion: Of :func:`confusion_matrix`.
        count: How many pairs.
    """
    clips = confusion.sum(axis=1)
    found = []
    for a, b in zip(*np.nonzero(np.triu(confusion + confusion.T, 1))):
        first, second = (a, b) if confusion[a, b] >= confusion[b, a] else (b, a)
        found.append(
            ConfusedPair(
                *map(int, (first, second, confusion[first, second], clips[first])),
                int(confusion[second, first]),
                int(clips[second]),
            )
        )

    def how_bad(pair: ConfusedPair) -> tuple:
        mistaken = pair.mistaken + pair.returned
        return -mistaken, -mistaken / (pair.first_clips + pair.second_clips), pair.first, pair.second

    return sorted(found, key=how_bad)[:count]


def write_class_table(
    path: str,
    scores: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    names: Sequence[str] | None = None,
    class_sets: np.ndarray | None = None,
) -> None:
    """Write a CSV with a line for each class of the model.

    Columns: ``label``, ``class``; with sets ``set``; ``clips``; ``correct``; ``accuracy``, empty for a class without
    clips; with sets ``within_set``, the share in which the class is the best of its set; ``predicted``, clips of any
    class that were taken for it; ``mistaken_for`` and ``times``, the class that it is most often taken for.

    Args:
        path: File to write; its folder is made.
        scores: Shape ``(S, C)``.
        labels: Shape ``(S,)``.
        predicted: Shape ``(S,)``.
        names: Names of the classes. Defaults to None: their numbers.
        class_sets: Set of each class, shape ``(C,)``. Defaults to None: there are none.
    """
    confusion = confusion_matrix(labels, predicted, scores.shape[1])
    wrong = confusion * (1 - np.eye(len(confusion), dtype=int))
    within = None if class_sets is None else best_of_set(scores, labels, class_sets)

    def name(label: int) -> str:
        return names[label] if names and label < len(names) else str(label)

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        sets = class_sets is not None
        head = ['label', 'class', *(['set'] if sets else []), 'clips', 'correct', 'accuracy']
        writer.writerow([*head, *(['within_set'] if sets else []), 'predicted', 'mistaken_for', 'times'])
        for label, row in enumerate(confusion):
            clips = row.sum()
            line = [label, name(label), *([class_sets[label]] if sets else []), clips, row[label]]
            line.append(f'{row[label] / clips:.4f}' if clips else '')
            if sets:
                line.append(f'{within[labels == label].mean():.4f}' if clips else '')
            other, times = int(wrong[label].argmax()), wrong[label].max()
            writer.writerow([*line, confusion[:, label].sum(), *([name(other), times] if times else ['', 0])])
