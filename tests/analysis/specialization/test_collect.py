"""The pass over a data set, with a neck of which one knows what each neuron says."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mmaction.registry import MODELS
from torch import nn

from mmdsts.analysis.specialization.collect import collect, find_neck, neurons_replaced
from mmdsts.cli import UsageError
from mmdsts.evaluation.samples import labelled
from mmdsts.models import DSTSLayer, DSTSNeck

N = 4


@MODELS.register_module(force=True)
class PassOn(nn.Module):
    """A backbone that leaves its input as it is, and counts how often it ran."""

    runs = 0

    def forward(self, x):
        type(self).runs += 1
        return x

    def init_weights(self):
        """Nothing to draw."""


class Clips:
    """``V`` views of a clip; channel ``i`` holds the pulse of neuron ``i``, channel ``N`` a one."""

    def __init__(self, pulses, labels):
        self.pulses, self.labels = torch.as_tensor(pulses).float(), labels

    def __len__(self):
        return len(self.pulses)

    def __getitem__(self, index):
        pulses = self.pulses[index].view(-1, N)
        inputs = torch.zeros(len(pulses), N + 1, 1, 2, 2)
        inputs[:, :N] = pulses[:, :, None, None, None]
        inputs[:, N] = 1
        return dict(inputs=inputs, data_samples=labelled(self.labels[index]))


def telling_model(layers=1, **neck):
    """A recognizer whose class is the neuron that was active in the last layer."""
    model = MODELS.build(
        dict(
            type='Recognizer3D',
            backbone=dict(type='PassOn'),
            neck=dict(type='DSTSNeck', in_channels=N + 1, num_layers=layers, num_neurons=N, pulse='mean', **neck),
            cls_head=dict(type='I3DHead', num_classes=N, in_channels=N + 1, spatial_type='avg', average_clips='prob'),
            data_preprocessor=dict(type='ActionDataPreprocessor'),
        )
    )
    with torch.no_grad():
        for layer in model.neck.layers:
            for parameter in layer.parameters():
                parameter.zero_()
            layer.spatial_norm.weight.fill_(1)
            layer.temporal_norm.weight.fill_(1)
            layer.fuse.weight.copy_(torch.eye(N + 1)[:, :, None, None, None])
            for i, neuron in enumerate(layer.neurons):
                neuron.score[0, i] = 1
                neuron.gate.fill_(-1)
                # Writes a one into the channel of its own, from the channel that is always one, which it keeps.
                neuron.spatial[i, N, 0, 1, 1] = neuron.spatial[N, N, 0, 1, 1] = 1
        model.cls_head.fc_cls.weight.copy_(torch.cat([torch.eye(N), torch.zeros(N, 1)], 1) * 9)
        model.cls_head.fc_cls.bias.zero_()
        # The skip connection would bring the pulses to the head.
        model.neck.register_forward_hook(lambda neck, inputs, out: (out[0] - inputs[0], out[1]))
    return model.eval()


def ranked(*rows):
    """Pulses of which the first neuron of a row has the largest, the second the next."""
    pulses = torch.zeros(len(rows), N)
    for pulse, row in zip(pulses, rows):
        for height, neuron in zip((3.0, 2.0, 1.0), row):
            pulse[neuron] = height
    return pulses


def test_replacing_the_winner_gives_what_the_other_neuron_says():
    rows = [(0, 1, 2), (1, 3, 0), (2, 0, 1), (3, 2, 1), (0, 2, 3)] * 8
    dataset = Clips(ranked(*rows), [row[0] for row in rows])
    PassOn.runs = 0
    record = collect(telling_model(), dataset, batch_size=5)
    assert PassOn.runs == 8  # once a batch, whatever is replaced
    winners = np.array([row[0] for row in rows])
    assert (record.labels == winners).all()
    assert (record.predictions == winners).all()
    assert record.active.shape == (1, 40, 1)
    assert (record.neurons[0] == winners).all()
    runner_up, others = record.replaced['runner_up'], record.replaced['random']
    assert (runner_up == [row[1] for row in rows]).all()  # in the layer, and in all layers, which is the same here
    assert runner_up.shape == others.shape == (2, 40)
    assert (others != winners).all()
    assert all(len(set(others[0, winners == i])) > 1 for i in range(N))


def test_later_layers_choose_anew_and_all_can_be_replaced_at_once():
    """The first layer's neuron lights its channel; the second layer's pulse reads that and keeps it."""
    rows = [(0, 1, 2), (1, 3, 0), (2, 0, 1), (3, 2, 1)]
    record = collect(telling_model(layers=2), Clips(ranked(*rows), [0, 1, 2, 3]), batch_size=4)
    assert record.active[:, :, 0].tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    first, second, both = record.replaced['runner_up']
    assert first.tolist() == [1, 3, 0, 2]  # the second layer follows
    assert all(second != [0, 1, 2, 3])
    assert all(both != first)


def test_views_are_votes_and_leads_are_their_means():
    pulses = torch.stack([ranked((1, 0, 2), (1, 2, 0), (3, 0, 1)), ranked((2, 1, 0), (0, 1, 2), (0, 2, 1))])
    record = collect(telling_model(), Clips(pulses, [1, 0]), batch_size=2)
    assert record.active[0].tolist() == [[1, 1, 3], [2, 0, 0]]
    assert record.neurons[0].tolist() == [1, 0]
    scale = (N + 1) ** -1  # 'mean' pulses divide by the number of terms; a score has one channel that counts
    expected = (1 + 1 + (1 - 3)) / 3 * scale
    assert record.leads[0, 0, 1] == pytest.approx(expected, rel=1e-5)
    assert (record.leads[0].argmax(axis=1) == [1, 0]).all()
    # Views of each clip are replaced one by one: neurons 0, 2 and 0 of the first.
    assert record.replaced['runner_up'][0].tolist()[0] == 0


def test_a_neck_that_runs_several_times_on_the_views_of_a_clip():
    pulses = torch.stack([ranked((1, 0, 2), (1, 2, 0), (3, 0, 1)), ranked((2, 1, 0), (0, 1, 2), (0, 2, 1))])
    dataset = Clips(pulses, [1, 0])
    whole, model = collect(telling_model(), dataset, batch_size=2), telling_model()
    model.test_cfg = dict(max_testing_views=2)
    parts = collect(model, dataset)
    assert (parts.active == whole.active).all()
    assert (parts.leads == whole.leads).all()
    assert (parts.replaced['runner_up'] == whole.replaced['runner_up']).all()


def test_batches_and_a_part_of_the_clips():
    rows = [(i % N, (i + 1) % N, (i + 2) % N) for i in range(10)]
    dataset, seen = Clips(ranked(*rows), [row[0] for row in rows]), []
    whole = collect(telling_model(), dataset, batch_size=10)
    part = collect(telling_model(), dataset, batch_size=2, indices=[7, 1, 4], on_progress=seen.append)
    assert seen == [2, 3]
    assert (part.leads == whole.leads[:, [7, 1, 4]]).all()
    assert (part.replaced['runner_up'] == whole.replaced['runner_up'][:, [7, 1, 4]]).all()


def test_the_model_is_left_as_it_was():
    model = telling_model()
    before, hooks = copy.deepcopy(model.state_dict()), len(model.neck.layers[0].pulse._forward_hooks)
    first = collect(model, Clips(ranked((0, 1, 2), (3, 1, 2)), [0, 3]), seed=5)
    assert isinstance(model.backbone, PassOn)
    assert len(model.neck.layers[0].pulse._forward_hooks) == hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again = collect(model, Clips(ranked((0, 1, 2), (3, 1, 2)), [0, 3]), seed=5)
    assert all((first.replaced[rule] == again.replaced[rule]).all() for rule in first.replaced)


def test_random_neurons_are_equally_likely():
    layer = DSTSLayer(6, 3, pulse='mean').eval()
    x = torch.randn(3000, 6, 1, 1, 1)
    winners = layer(x)[1].index
    with neurons_replaced(layer, 'random', torch.Generator().manual_seed(0)):
        index = layer(x)[1].index
    shift = (index - winners) % 3
    assert torch.bincount(shift).tolist() == pytest.approx([0, 1500, 1500], abs=120)
    assert torch.equal(layer(x)[1].index, winners)
    with pytest.raises(ValueError, match="rule must be one of .*'best'"), neurons_replaced(layer, 'best'):
        pass


def test_what_cannot_be_studied_is_refused():
    with pytest.raises(UsageError, match='has 0 necks of type DSTSNeck'):
        find_neck(nn.Identity())
    with pytest.raises(UsageError, match='num_neurons=1, a static layer'):
        find_neck(nn.Sequential(DSTSNeck(4, num_neurons=1)))
    dataset = Clips(ranked((0, 1, 2)), [[0, 1]])
    with pytest.raises(UsageError, match='2 labels; expected a data set with one class a clip'):
        collect(telling_model(), dataset)
