import copy

import torch
from mmaction.structures import ActionDataSample
from torch import nn

import mmdsts
from mmdsts.analysis.figures import draw_activations
from mmdsts.analysis.routing import RoutingRecordHook, utilization
from mmdsts.deployment.check import answer
from mmdsts.models import DSTSNeck

from ..deployment.small_models import CLIPS, CLIPS_SHAPE, build, pixels


class _Runner:
    """What the hook reads of a runner."""

    def __init__(self, *actives, num_neurons=(3, 3)):
        self.model = nn.Sequential()
        for active, neurons in zip(actives, num_neurons):
            neck = DSTSNeck(in_channels=2, num_layers=len(active), num_neurons=neurons)
            neck.last_active = torch.tensor(active)
            self.model.append(neck)


def _samples(*labels):
    return [ActionDataSample().set_gt_label(label) for label in labels]


def test_counts_classes_and_neurons_over_batches():
    hook = RoutingRecordHook(num_classes=2)
    hook.after_test_iter(_Runner([[0, 2, 2], [1, 1, 0]]), 0, outputs=_samples(0, 1, 1))
    hook.after_test_iter(_Runner([[0], [1]]), 1, outputs=_samples(0))
    assert hook.counts.tolist() == [[[2, 0, 0], [0, 0, 2]], [[0, 2, 0], [1, 1, 0]]]
    assert utilization(hook.counts).tolist() == [[0.5, 0, 0.5], [0.25, 0.75, 0]]


def test_counts_every_view_of_a_sample():
    hook = RoutingRecordHook(num_classes=2)
    hook.after_test_iter(_Runner([[0, 1, 2, 2], [0, 0, 0, 0]]), 0, outputs=_samples(0, 1))
    assert hook.counts[0].tolist() == [[1, 1, 0], [0, 0, 2]]


def test_counts_the_layers_of_all_necks():
    hook = RoutingRecordHook(num_classes=2)
    # The second neck sees two views of each sample.
    hook.after_test_iter(_Runner([[0, 2]], [[3, 3, 0, 1]], num_neurons=(3, 4)), 0, outputs=_samples(0, 1))
    assert hook.counts.tolist() == [[[1, 0, 0, 0], [0, 0, 1, 0]], [[0, 0, 0, 2], [1, 1, 0, 0]]]


def test_counts_deployed_necks():
    neck = DSTSNeck(in_channels=2, num_layers=2, num_neurons=3).eval()
    runner, deployed = _Runner([[0], [0]]), mmdsts.deploy(neck)
    runner.model = nn.Sequential(deployed)
    x = torch.rand(8, 2, 2, 3, 3)
    deployed(x)
    neck(x)
    hook = RoutingRecordHook(num_classes=1)
    hook.after_test_iter(runner, 0, outputs=_samples(*[0] * 8))
    expected = torch.stack([index.bincount(minlength=3) for index in neck.last_active])
    assert torch.equal(hook.counts[:, 0], expected)


def test_counts_all_chunks_of_a_batch():
    """``max_testing_views`` runs the neck for four views, four views and two."""
    whole = build(CLIPS, CLIPS_SHAPE)
    model = copy.deepcopy(whole)
    model.test_cfg = dict(max_testing_views=4)
    for deployed in (False, True):
        if deployed:
            model, whole = mmdsts.deploy(model), mmdsts.deploy(whole)
        runner, hook = _Runner([[0], [0]]), RoutingRecordHook(num_classes=5)
        runner.model = model
        # Views of different brightness, so that they choose different neurons.
        inputs = [pixels(CLIPS_SHAPE[1:], batch=10) for _ in range(3)]
        for batch in inputs:
            outputs = model.test_step(dict(inputs=[batch], data_samples=_samples(2)))
            whole.test_step(dict(inputs=[batch], data_samples=_samples(2)))
            assert len(whole.neck.last_active.unique()) > 1
            assert torch.equal(model.neck.last_active, whole.neck.last_active)
            hook.after_test_iter(runner, 0, outputs=outputs)
        assert hook.counts.sum(dim=(1, 2)).tolist() == [30, 30]
        assert len(answer(model, inputs[0][None]).active[0]) == 10


def test_a_model_without_dsts_has_no_counts():
    hook, runner = RoutingRecordHook(num_classes=2), _Runner([[0], [0]])
    runner.model = nn.Identity()
    hook.after_test_iter(runner, 0, outputs=_samples(0))
    assert hook.counts is None


def test_picture_is_written(tmp_path):
    counts = torch.eye(4, 3).long()[None].repeat(2, 1, 1)
    out = draw_activations(counts, ['a', 'b', 'c', 'd'], tmp_path / 'new' / 'a.png')
    assert out.read_bytes().startswith(b'\x89PNG')
