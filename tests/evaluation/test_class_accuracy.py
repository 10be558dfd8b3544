from __future__ import annotations

import numpy as np
import pytest
import torch
from mmaction.registry import METRICS
from mmengine.evaluator import Evaluator

from mmdsts.evaluation import ClassAccuracyMetric
from mmdsts.evaluation.samples import labelled


def sample(scores, label):
    """A sample after ``predict``, under the names of the installed MMAction2."""
    made, scores = labelled(label), torch.as_tensor(scores, dtype=torch.float32)
    if scores.dim() > 1:  # MMAction2 1.0 and 1.1 do not set these
        made.pred_score = scores
        return made
    return made.set_pred_score(scores) if hasattr(made, 'set_pred_score') else made.set_pred_scores(scores)


def evaluate(samples, meta=None, metric=dict(type='ClassAccuracyMetric')):
    evaluator = Evaluator([METRICS.build(metric)])
    evaluator.dataset_meta = meta
    evaluator.process(data_samples=samples)
    return evaluator.evaluate(len(samples))


@pytest.fixture
def half():
    """24 clips of the first 12 of 24 classes: half of them right, the others taken for classes that do not occur."""
    predicted = [i if i % 2 else 23 - i for i in range(12)] + list(range(12))
    return [sample(np.eye(24)[label], i % 12) for i, label in enumerate(predicted)]


def test_a_list_with_half_of_the_classes(half):
    assert evaluate(half) == {
        'acc/top1': 0.75,
        'acc/top5': pytest.approx(evaluate(half)['acc/top5']),
        'acc/mean1': 0.75,
        'acc/num_classes': 12,
    }
    # What it stands in for: the six classes that no clip has, but that are predicted, count as 0.
    theirs = evaluate(half, metric=dict(type='AccMetric'))
    assert theirs['acc/mean1'] == pytest.approx(0.75 * 12 / 18)


def test_agrees_with_accmetric_where_every_class_occurs():
    generator = torch.Generator().manual_seed(0)
    samples = [sample(torch.rand(6, generator=generator), i % 6 if i < 30 else 0) for i in range(50)]
    ours, theirs = evaluate(samples), evaluate(samples, metric=dict(type='AccMetric'))
    assert ours.pop('acc/num_classes') == 6
    assert ours == pytest.approx(theirs)
    assert evaluate(samples, metric=dict(type='ClassAccuracyMetric', topk=3)).keys() == {
        'acc/top3',
        'acc/mean1',
        'acc/num_classes',
    }


def test_sets_are_logged_where_the_dataset_has_them():
    scores = [
        [0.5, 0.4, 0.1, 0.0],
        [0.4, 0.1, 0.3, 0.2],
        [0.1, 0.2, 0.3, 0.4],
    ]  # right; wrong set, right inside; wrong inside
    samples = [sample(row, label) for row, label in zip(scores, (0, 2, 2))]
    metrics = evaluate(samples, dict(class_sets=[1, 1, 32, 32]))
    assert metrics['acc/top1'] == pytest.approx(1 / 3)
    assert metrics['acc/set'] == pytest.approx(2 / 3)
    assert metrics['acc/within_set'] == pytest.approx(2 / 3)
    assert 'acc/set' not in evaluate(samples, dict(classes=list('abcd')))
    # A head that is wider or narrower than the categories.
    for class_sets in ([1, 1, 32], [1, 1, 32, 32, 32]):
        assert evaluate(samples[:1], dict(class_sets=class_sets))['acc/set'] == 1


@pytest.mark.parametrize(
    ('scores', 'label', 'message'),
    [
        (torch.rand(3, 4), 1, r"shape \(3, 4\), expected \(num_classes, \).*average_clips='prob'"),
        (torch.rand(4), 4, r'label 4, but the model has 4 classes, 0 to 3; set model.cls_head.num_classes'),
        (torch.rand(4), -1, r'label -1, .*; its annotation list gives no label'),
        (torch.rand(4), [1, 2], r'2 labels, expected one; use AccMetric'),
    ],
)
def test_samples_that_have_no_such_accuracy(scores, label, message):
    with pytest.raises(ValueError, match=message):
        evaluate([sample(scores, label)])


@pytest.mark.parametrize('topk', [(), (1, 0), (1.5,)])
def test_topk_must_be_whole_and_positive(topk):
    with pytest.raises(ValueError, match='topk is .*expected one or more whole numbers from 1 on'):
        ClassAccuracyMetric(topk)


def test_prefix():
    assert set(
        evaluate([sample(torch.rand(4), 1)], metric=dict(type='ClassAccuracyMetric', topk=(1,), prefix='val'))
    ) == {'val/top1', 'val/mean1', 'val/num_classes'}


def test_names_of_mmaction2_1_0():
    metric = ClassAccuracyMetric()
    scores = torch.tensor([0.1, 0.9])
    metric.process(
        None, [dict(pred_scores=dict(item=scores), gt_labels=dict(item=torch.tensor([label]))) for label in (0, 1)]
    )
    assert metric.evaluate(2) == {'acc/top1': 0.5, 'acc/top5': 1.0, 'acc/mean1': 0.5, 'acc/num_classes': 2}
    with pytest.raises(ValueError, match=r"several modalities, \['pose', 'rgb'\]; use AccMetric"):
        metric.process(None, [dict(pred_score=dict(rgb=scores, pose=scores), gt_label=torch.tensor([0]))])
