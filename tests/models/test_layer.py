import copy

import torch
import torch.nn.functional as F

from mmdsts.models import DSTSLayer
from mmdsts.models.gates import decide_gates, sample_gates
from mmdsts.models.routing import straight_through_gumbel

from .literal import literal_layer, literal_pulse


def _layer(**kwargs):
    torch.manual_seed(0)
    return DSTSLayer(6, 4, **kwargs).double()


def _features(batch=5, size=(3, 4, 4)):
    return torch.randn(batch, 6, *size, dtype=torch.float64, requires_grad=True)


def test_public_shapes():
    neuron = DSTSLayer(6, 4).neurons[3]
    assert neuron.score.shape == (6, 6, 1, 1, 1)
    assert neuron.spatial.shape == (6, 6, 1, 3, 3)
    assert neuron.temporal.shape == (6, 6, 3, 1, 1)
    assert neuron.gate.shape == (6,)


def _trained_side_by_side(batch):
    """A layer and its literal twin on the same input with the same draws: layers, input, outputs, routing, choice."""
    layer, x = _layer(pulse='sum', temperature=40.0), _features(batch)
    reference = copy.deepcopy(layer)
    torch.manual_seed(7)
    out, routing = layer(x)
    torch.manual_seed(7)
    pulse = literal_pulse(x, reference.neurons)
    choice = straight_through_gumbel(pulse, 40.0)
    gates = sample_gates(torch.stack([neuron.gate for neuron in reference.neurons]), noise=reference.gate_noise)
    return layer, reference, x, out, literal_layer(reference, x, choice, gates), routing, choice


def test_training_equals_the_literal_layer_with_the_same_draws():
    layer, reference, x, out, expected, routing, choice = _trained_side_by_side(batch=5)
    torch.testing.assert_close(out, expected)
    assert torch.equal(routing.index, choice.argmax(1)) and len(routing.index.unique()) > 1
    weight = torch.randn_like(out)
    ours = torch.autograd.grad((out * weight).sum(), [x, *layer.parameters()], allow_unused=True)
    literal = torch.autograd.grad((expected * weight).sum(), [x, *reference.parameters()])
    for a, b in zip(ours, literal):
        torch.testing.assert_close(torch.zeros_like(b) if a is None else a, b)


def test_gates_of_idle_neurons_rest_from_second_derivatives():
    """The gradient of the choice compares all neurons: it depends on gates of idle ones, which rest all the same."""
    layer, reference, x, *outputs, routing, _ = _trained_side_by_side(batch=2)
    weight, direction = torch.randn_like(x), torch.randn_like(x)
    found, expected = (
        torch.autograd.grad(
            torch.autograd.grad((out * weight).sum(), x, create_graph=True)[0],
            [neuron.gate for neuron in each.neurons],
            direction,
        )
        for each, out in zip((layer, reference), outputs)
    )
    active = set(routing.index.tolist())
    assert len(active) < 4
    for i in range(4):
        torch.testing.assert_close(found[i], expected[i] if i in active else torch.zeros_like(expected[i]))
        assert expected[i].any()


def test_evaluation_equals_the_literal_layer_and_is_deterministic():
    layer, x = _layer(pulse='sum'), _features(batch=16)
    layer.train()
    layer(x)  # norm statistics that are not the identity
    layer.eval()
    pulse = literal_pulse(x, layer.neurons)
    choice = F.one_hot(pulse.argmax(1), 4).double()
    assert len(pulse.argmax(1).unique()) > 1
    gates = decide_gates(torch.stack([neuron.gate for neuron in layer.neurons]))
    out, routing = layer(x)
    torch.testing.assert_close(out, literal_layer(layer, x, choice, gates))
    assert torch.equal(routing.index, pulse.argmax(1))
    torch.manual_seed(99)
    again, _ = layer(x)
    assert torch.equal(out, again)


def test_evaluation_neuron_by_neuron_as_on_a_gpu_is_the_same():
    layer, x = _layer(pulse='sum').eval(), _features(batch=16)
    for index in (torch.tensor([2, 0] * 8), torch.ones(16, dtype=torch.long)):
        torch.testing.assert_close(layer._operate_by_neuron(x, index), layer._operate_in_evaluation(x, index))


def test_evaluation_computes_active_neurons_only():
    layer, x = _layer(), _features()
    layer.eval()
    index = layer(x)[1].index
    idle = next(i for i in range(4) if i not in index.tolist())
    with torch.no_grad():
        layer.neurons[idle].spatial.fill_(float('nan'))
        layer.neurons[idle].temporal.fill_(float('nan'))
    assert layer(x)[0].isfinite().all()


def test_one_neuron_is_a_static_layer():
    torch.manual_seed(0)
    layer = DSTSLayer(6, 1).double()
    x = _features()
    torch.manual_seed(3)
    out, routing = layer(x)
    torch.manual_seed(3)
    choice = straight_through_gumbel(routing.pulse, 1.0)
    gates = sample_gates(layer.neurons[0].gate[None], noise=layer.gate_noise)
    torch.testing.assert_close(out, literal_layer(layer, x, choice, gates))
    out.square().sum().backward()
    # DistributedDataParallel waits for all of them.
    assert all(p.grad is not None for p in layer.parameters())
    assert not layer.neurons[0].score.grad.any()


def test_noise_is_reproducible_and_drawn_for_each_sample():
    layer = _layer(pulse='mean')
    x = _features(batch=1).expand(64, -1, -1, -1, -1)
    torch.manual_seed(5)
    first = layer(x)[1].index
    torch.manual_seed(5)
    assert torch.equal(first, layer(x)[1].index)
    assert len(first.unique()) > 1


def test_maps_with_sides_of_one():
    layer = _layer()
    for size in [(1, 4, 4), (3, 1, 4), (3, 4, 1), (1, 1, 1)]:
        x = _features(size=size)
        for mode in (True, False):
            layer.train(mode)
            out = layer(x)[0]
            assert out.shape == x.shape and out.isfinite().all()
