import torch
from mmaction.structures import ActionDataSample
from torch import nn

from mmdsts.analysis.figures import draw_activations
from mmdsts.analysis.routing import RoutingRecordHook, utilization
from mmdsts.models import DSTSNeck


class _Runner:
    """What the hook reads of a runner."""

    def __init__(self, active):
        neck = DSTSNeck(in_channels=2, num_layers=2, num_neurons=3)
        neck.last_active = torch.tensor(active)
        self.model = nn.Sequential(neck)


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


def test_a_model_without_dsts_has_no_counts():
    hook, runner = RoutingRecordHook(num_classes=2), _Runner([[0], [0]])
    runner.model = nn.Identity()
    hook.after_test_iter(runner, 0, outputs=_samples(0))
    assert hook.counts is None


def test_picture_is_written(tmp_path):
    counts = torch.eye(4, 3).long()[None].repeat(2, 1, 1)
    out = draw_activations(counts, ['a', 'b', 'c', 'd'], tmp_path / 'new' / 'a.png')
    assert out.read_bytes().startswith(b'\x89PNG')
