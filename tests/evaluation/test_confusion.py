from __future__ import annotations

import csv

import numpy as np
import pytest
from mmaction.registry import METRICS

from mmdsts.evaluation.confusion import ConfusedPair, confusion_matrix, most_confused

from .test_class_accuracy import evaluate, sample

LABELS = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 3])
PREDICTED = np.array([0, 1, 1, 2, 0, 1, 2, 0, 2, 2])
NAMES = ['serve', 'smash', 'volley', 'slice', 'lob']


def test_pairs_are_counted_both_ways_and_named():
    confusion = confusion_matrix(LABELS, PREDICTED, 5)
    assert confusion.sum() == 10 and confusion[0].tolist() == [1, 2, 1, 0, 0]
    pairs = most_confused(confusion, 9)
    assert pairs == [
        ConfusedPair(0, 1, 2, 4, 1, 2),
        ConfusedPair(0, 2, 1, 4, 1, 3),
        ConfusedPair(3, 2, 1, 1, 0, 3),
    ]
    assert [pair.describe(NAMES) for pair in pairs] == [
        'serve > smash 2 of 4, back 1 of 2', 'serve > volley 1 of 4, back 1 of 3', 'slice > volley 1 of 1',
    ]  # fmt: skip
    assert pairs[0].describe() == '0 > 1 2 of 4, back 1 of 2'
    assert most_confused(confusion, 1) == pairs[:1]
    assert most_confused(np.diag([3, 2]), 5) == []


def evaluated(tmp_path, monkeypatch, meta=None, **options):
    """The metrics, what is logged and the table."""
    told = []
    monkeypatch.setattr('mmdsts.evaluation.class_accuracy.print_log', lambda text, logger: told.append(text))
    path = tmp_path / 'tables' / 'classes.csv'
    samples = [sample(np.eye(5)[p], int(label)) for p, label in zip(PREDICTED, LABELS)]
    metric = dict(type='ClassAccuracyMetric', class_table=str(path), **options)
    metrics = evaluate(samples, meta, metric)
    return metrics, told, list(csv.DictReader(path.open()))


def test_the_metric_logs_pairs_and_writes_classes(tmp_path, monkeypatch):
    meta = dict(classes=NAMES, class_sets=[1, 1, 2, 2, 2])
    metrics, told, table = evaluated(tmp_path, monkeypatch, meta, num_pairs=2)
    assert told == ['most confused: serve > smash 2 of 4, back 1 of 2; serve > volley 1 of 4, back 1 of 3']
    assert all(isinstance(value, (int, float)) for value in metrics.values())  # as JSON and visualizers take them
    assert [row['class'] for row in table] == NAMES
    assert table[0] == {
        'label': '0', 'class': 'serve', 'set': '1', 'clips': '4', 'correct': '1', 'accuracy': '0.2500',
        'within_set': '0.5000', 'predicted': '3', 'mistaken_for': 'smash', 'times': '2',
    }  # fmt: skip
    assert (table[4]['clips'], table[4]['accuracy'], table[4]['mistaken_for']) == ('0', '', '')
    correct = sum(int(row['correct']) for row in table)
    assert metrics['acc/top1'] == correct / len(LABELS)
    accuracies = [float(row['accuracy']) for row in table if row['accuracy']]
    assert metrics['acc/mean1'] == pytest.approx(np.mean(accuracies), abs=1e-4)


def test_without_names_and_sets(tmp_path, monkeypatch):
    _, told, table = evaluated(tmp_path, monkeypatch, num_pairs=0)
    assert told == []
    assert 'set' not in table[0] and table[0]['class'] == '0'
    with pytest.raises(ValueError, match='num_pairs is -1, expected how many'):
        METRICS.build(dict(type='ClassAccuracyMetric', num_pairs=-1))
