"""The confusion matrix, and the worst pairs as film strips."""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mmdsts.analysis.specialization.figures import MAP, in_order_of_sets, shorten
from mmdsts.analysis.specialization.strips import film_strip
from mmdsts.evaluation.confusion import ConfusedPair

from .predictions import Predictions

_NUMBERS_UP_TO = 15  # classes
_STRIP = 0.62  # inches, its height


class Names(NamedTuple):
    """What classes and sets are called.

    Attributes:
        classes: Name of each class.
        class_sets: Set of each class; None without sets.
        sets: Names of the sets by number.
    """

    classes: Sequence[str]
    class_sets: Sequence[int] | None = None
    sets: dict = {}


def draw_confusion(confusion: np.ndarray, names: Names) -> Figure:
    """Draw the share of each class's clips by predicted class, set after set, classes without clips in grey.

    Args:
        confusion: Of :func:`~mmdsts.evaluation.confusion.confusion_matrix`, ``C`` x ``C``.
        names: Of the ``C`` classes.
    """
    count = len(confusion)
    groups = in_order_of_sets(names.class_sets, count)
    order = [label for group in groups for label in group]
    clips = confusion.sum(axis=1)
    with np.errstate(invalid='ignore'):
        shares = np.where(clips[:, None] > 0, confusion / np.maximum(clips, 1)[:, None], np.nan)[np.ix_(order, order)]
    cell = max(0.13, min(0.4, 6 / count))  # inches
    room = 42 if count > 20 else 28
    width = 0.075 * room + cell * count + 1.1
    figure = Figure(figsize=(max(width, 4.5), cell * count + 1.5), layout='constrained')
    ax = figure.subplots()
    ax.set_facecolor('#E6E6E6')
    # By its root: of the mistakes of a class, each is a few per cent.
    image = ax.imshow(shares, cmap=MAP, norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation='nearest')
    size = 8 if cell >= 0.2 else 6
    ax.set_yticks(range(count), [f'{shorten(names.classes[i], room)}  {i}' for i in order], fontsize=size)
    ax.set_xticks(range(count), [str(i) for i in order], fontsize=size, rotation=0 if count <= 30 else 90)
    ax.tick_params(length=0)
    ax.set_xlabel('predicted class', fontsize=8)
    ax.set_ylabel('class', fontsize=8)
    ax.spines[:].set_visible(False)
    if count <= _NUMBERS_UP_TO:
        for (y, x), share in np.ndenumerate(shares):
            if share > 0:
                colour = 'white' if share > 0.3 else 'black'
                ax.text(x, y, str(confusion[order[y], order[x]]), ha='center', va='center', fontsize=8, color=colour)
    start = 0
    for group in groups if len(groups) > 1 else ():
        end = start + len(group)
        box = np.array([start, start, end, end, start]) - 0.5
        ax.plot(box, np.array([start, end, end, start, start]) - 0.5, color='#D55E00', linewidth=1.2)
        key = names.class_sets[group[0]]
        name = shorten(str(names.sets.get(key, f'set {key}')), max(4, int(len(group) * cell / 0.075)))
        ax.text(count - 0.2, (start + end - 1) / 2, name, rotation=270, va='center', ha='left', fontsize=size)
        start = end
    bar = figure.colorbar(
        image, ax=ax, location='top', shrink=0.5, aspect=40, ticks=(0, 0.1, 0.5, 1), format=PercentFormatter(1, 0)
    )
    bar.set_label("share of the class's clips", fontsize=8)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.outline.set_visible(False)
    return figure


class Strip(NamedTuple):
    """A clip of a pair, to be drawn.

    Attributes:
        index: Which clip of the test.
        label: Its class.
        predicted: The class that it is taken for.
        score: Score of that class.
    """

    index: int
    label: int
    predicted: int
    score: float


def strips_of(pair: ConfusedPair, predictions: Predictions) -> list[Strip]:
    """Clips to look at: of each direction the surest mistake, and below it the surest right clip of the other class."""
    found = []
    for label, other in ((pair.first, pair.second), (pair.second, pair.first)):
        mistake = _surest(predictions, label, other)
        if mistake is not None:
            found += [mistake, _surest(predictions, other, other)]
    return [strip for strip in found if strip is not None]


def _surest(predictions: Predictions, label: int, predicted: int) -> Strip | None:
    clips = np.flatnonzero((predictions.labels == label) & (predictions.predicted == predicted))
    if not len(clips):
        return None
    best = clips[predictions.scores[clips, predicted].argmax()]
    return Strip(int(best), label, predicted, float(predictions.scores[best, predicted]))


def draw_pairs(pairs: Sequence[ConfusedPair], predictions: Predictions, dataset: Any, names: Names) -> Figure | None:
    """Draw the clips of confused pairs as film strips, one above the other; None where clips are no frames.

    Args:
        pairs: Of :func:`~mmdsts.evaluation.confusion.most_confused`, one or more.
        predictions: Of the data set's clips, in its order.
        dataset: The tested data set.
        names: Of the classes.
    """
    rows = [(pair, strip, film_strip(dataset, strip.index)) for pair in pairs for strip in strips_of(pair, predictions)]
    if not rows or any(picture is None for *_, picture in rows):
        return None
    heights = []
    for i, (pair, *_) in enumerate(rows):
        heights.append(1.5 if not i or rows[i - 1][0] is not pair else 1.0)
    widest = max(picture.shape[1] / picture.shape[0] for *_, picture in rows)
    figure = Figure(figsize=(widest * _STRIP + 0.3, (_STRIP + 0.2) * sum(heights) + 0.2))
    top, total = 1.0, (_STRIP + 0.2) * sum(heights) + 0.2
    for (pair, strip, picture), height in zip(rows, heights):
        y = top - (_STRIP + 0.2) * height / total
        wide = picture.shape[1] / picture.shape[0] * _STRIP / (widest * _STRIP + 0.3)
        ax = figure.add_axes((0.15 / (widest * _STRIP + 0.3), y, wide, _STRIP / total))
        ax.imshow(picture, aspect='auto')
        ax.set_axis_off()
        right = strip.label == strip.predicted
        room = int(widest * 8)
        title = f'{shorten(names.classes[strip.label], room)}'
        title += ' (right' if right else f' taken for {shorten(names.classes[strip.predicted], room)} ('
        ax.set_title(f'{title}{", " if right else ""}{strip.score:.2f})', loc='left', fontsize=7, pad=2,
                     color='#0072B2' if right else '#D55E00')  # fmt: skip
        if height > 1:
            line = (_STRIP + 0.2) / total
            text = shorten(pair.describe(names.classes), int(widest * 12))
            figure.text(0.15 / (widest * _STRIP + 0.3), y + line * 1.17, text, fontsize=8, weight='bold', va='center')
        top = y
    return figure
