from __future__ import annotations

import numpy as np
import torch

from mmdsts.analysis.confusion.figures import Names, draw_confusion, draw_pairs, strips_of
from mmdsts.analysis.confusion.predictions import Predictions
from mmdsts.evaluation.confusion import confusion_matrix, most_confused

LABELS = np.array([0, 0, 0, 1, 1, 2, 3])
SCORES = np.array(
    [[9, 1, 0, 0], [2, 7, 0, 0], [1, 8, 0, 0], [6, 3, 0, 0], [0, 9, 0, 0], [0, 0, 9, 0], [0, 0, 0, 9]], dtype=float
)
FOUND = Predictions(SCORES / 10, LABELS, SCORES.argmax(1))
NAMES = Names(['serve', 'smash', 'volley', 'slice', 'lob'], [2, 1, 1, 2, 1], {1: 'fast', 2: 'slow'})


def test_the_matrix_is_ordered_by_set_and_grey_without_clips():
    ax = draw_confusion(confusion_matrix(LABELS, FOUND.predicted, 5), NAMES).axes[0]
    assert [text.get_text().split()[0] for text in ax.get_yticklabels()] == ['smash', 'volley', 'lob', 'serve', 'slice']
    shares = ax.images[0].get_array()
    assert shares[3].tolist() == [2 / 3, 0, 0, 1 / 3, 0]  # serve, taken for smash
    assert np.isnan(np.ma.getdata(shares)[2]).all()  # lob has no clip
    assert {text.get_text() for text in ax.texts} == {'1', '2', 'fast', 'slow'}


def test_99_classes_stay_readable():
    rng = np.random.default_rng(0)
    names = Names([f'class {i}' for i in range(99)], (np.arange(99) // 10).tolist())
    figure = draw_confusion(confusion_matrix(rng.integers(0, 99, 999), rng.integers(0, 99, 999), 99), names)
    width, height = figure.get_size_inches()
    assert height / 99 > 0.13 and width < 20 and height < 20  # inches a row
    assert all(text.get_fontsize() >= 6 for text in figure.axes[0].get_yticklabels())


def test_of_each_pair_the_surest_mistakes_and_right_clips_are_drawn():
    (pair,) = most_confused(confusion_matrix(LABELS, FOUND.predicted, 4), 5)
    assert [(strip.index, strip.label, strip.predicted) for strip in strips_of(pair, FOUND)] == [
        (2, 0, 1), (4, 1, 1), (3, 1, 0), (0, 0, 0),
    ]  # fmt: skip
    dataset = [dict(inputs=torch.full((1, 3, 4, 32, 48), 30 * i, dtype=torch.uint8)) for i in range(7)]
    figure = draw_pairs([pair], FOUND, dataset, NAMES)
    assert [ax.images[0].get_array()[0, 0, 0] for ax in figure.axes] == [60, 120, 90, 0]
    titles = [ax.get_title(loc='left') for ax in figure.axes]
    assert titles[:2] == ['serve taken for smash (0.80)', 'smash (right, 0.90)']
    assert figure.texts[0].get_text() == 'serve > smash 2 of 3, back 1 of 2'
    assert draw_pairs([pair], FOUND, [dict(inputs=torch.zeros(3))] * 7, NAMES) is None
