from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.evaluator import DumpResults

from mmdsts.analysis.confusion.predictions import read_predictions
from mmdsts.errors import UsageError


def dump(path, scores, labels):
    metric = DumpResults(out_file_path=str(path))
    samples = [dict(pred_score=s, gt_label=label, num_crops=np.int64(1)) for s, label in zip(scores, labels)]
    metric.process(None, samples)
    metric.evaluate(len(samples))
    return str(path)


def test_a_dump_of_mmengine_is_read(tmp_path):
    scores = torch.tensor([[0.1, 0.9], [0.8, 0.2], [float('nan'), 0.1]])
    found = read_predictions(dump(tmp_path / 'p.pkl', scores, torch.tensor([[1], [1], [0]])))
    np.testing.assert_array_equal(found.scores, scores.double().numpy())
    assert found.labels.tolist() == [1, 1, 0]
    assert found.predicted.tolist() == [1, 0, 1]


class Call:
    def __reduce__(self):
        return os.mkdir, ('called',)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'text', 'expected what tools/test.py --dump writes'),
        (pickle.dumps([]), 'expected what tools/test.py --dump writes'),
        (pickle.dumps([dict(a=1)]), 'KeyError'),
        (b'Pa\n.', r'^[^\n]*persistent[^\n]*$'),  # as in a checkpoint; pickle says it in two lines
        (pickle.dumps(Call()), r'it holds (posix|nt).mkdir, which no predictions do'),
    ],
)
def test_anything_else_is_refused_and_nothing_is_called(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'p.pkl').write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_predictions('p.pkl')
    assert not (tmp_path / 'called').exists()
    with pytest.raises(UsageError, match='none.pkl: no such file; write it with tools/test.py'):
        read_predictions('none.pkl')


def test_predictions_have_one_label_and_averaged_scores(tmp_path):
    for scores, labels in (
        (torch.rand(2, 3, 4), [[0], [1]]),
        (torch.rand(2, 4), [[0, 1], [1, 2]]),
        (torch.rand(1, 4), [[4]]),
    ):
        with pytest.raises(UsageError, match='expected averaged scores .* and one label a clip'):
            read_predictions(dump(tmp_path / 'p.pkl', scores, torch.tensor(labels)))
