"""Figures of a layer against values known beforehand."""

from __future__ import annotations

import math

import pytest
import torch

from mmdsts.models import DSTSLayer
from mmdsts.models.report import layer_report
from mmdsts.models.routing import Routing


def _routing(index, best, neurons, gates=None):
    """Samples that activate ``index`` where the pulses without noise say ``best``."""
    pulse = torch.nn.functional.one_hot(torch.tensor(best), neurons).double()
    return Routing(torch.tensor(index), pulse, pulse.softmax(1), gates)


def test_figures_of_a_known_routing():
    gate = torch.tensor([[1.0, -1.0, -1.0, -1.0], [1.0, 1.0, 1.0, -1.0], [9.0, 9.0, 9.0, 9.0]])
    sampled = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    report = layer_report(_routing([0, 0, 1, 0], [0, 1, 1, 2], 3, sampled), gate)
    assert report['share'].tolist() == [0.75, 0.25, 0]
    assert report['agreement'] == 0.5
    assert report['entropy'].item() == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(3))
    # Neuron 2, which nobody activated, does not count.
    assert report['temporal'] == 0.75 * 1 / 4 + 0.25 * 3 / 4
    assert report['flipped'] == 0.75 * 1 / 4 + 0.25 * 2 / 4


@pytest.mark.parametrize(('index', 'entropy'), [([0, 1, 2, 3], 1), ([2, 2, 2, 2], 0), ([0, 0, 1, 1], 0.5)])
def test_entropy_is_one_when_uniform_and_zero_when_collapsed(index, entropy):
    report = layer_report(_routing(index, index, 4), torch.zeros(4, 2))
    assert report['entropy'].item() == pytest.approx(entropy)


def test_agreement_is_that_of_the_gumbel_noise():
    """The noise picks the argmax with the probability that the softmax gives it: exactly what it is built for."""
    torch.manual_seed(0)
    layer = DSTSLayer(6, 3, pulse='mean').train()
    x = torch.randn(4000, 6, 1, 2, 2)
    _, routing = layer(x)
    expected = routing.probs.max(dim=1).values.mean().item()
    assert layer.report(routing)['agreement'].item() == pytest.approx(expected, abs=0.03)
    with torch.no_grad():
        for neuron in layer.neurons:
            neuron.score *= 1e4
    _, routing = layer(x)
    assert layer.report(routing)['agreement'] > 0.99


@pytest.mark.parametrize('soft_prob', [0.0, 1.0])
def test_flipped_gates_are_counted_where_soft_values_pass_too(soft_prob):
    torch.manual_seed(0)
    layer = DSTSLayer(400, 1, soft_prob=soft_prob, gate_noise=1.0).train()
    with torch.no_grad():
        layer.neurons[0].gate.fill_(1.0)
    _, routing = layer(torch.randn(2, 400, 1, 1, 1))
    below = 0.5 * math.erfc(1 / math.sqrt(2))  # P(1 + noise < 0)
    assert layer.report(routing)['flipped'].item() == pytest.approx(below, abs=0.06)
    with torch.no_grad():
        layer.neurons[0].gate.fill_(100.0)
    report = layer.report(layer(torch.randn(2, 400, 1, 1, 1))[1])
    assert report == dict(temporal=1, flipped=0)


def test_nothing_flips_in_evaluation():
    layer = DSTSLayer(6, 3).eval()
    report = layer.report(layer(torch.randn(4, 6, 1, 2, 2))[1])
    assert 'flipped' not in report
    assert report['agreement'] == 1
