"""``shared_base=True``: operators are the layer's plus a learned part of the neuron's own (no part of METHOD)."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from mmdsts import deploy
from mmdsts.engine.upstream import split_parameters
from mmdsts.models import DSTSLayer, DSTSNeck
from mmdsts.models.gates import decide_gates, sample_gates
from mmdsts.models.routing import straight_through_gumbel

from .literal import literal_operators, literal_pulse

N = 4


def _trained(module):
    """Own parts that differ, as after training."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if 'neurons' in name and name.endswith(('spatial', 'temporal')):
                parameter.normal_(std=0.3)
    return module


def _layer(**kwargs):
    torch.manual_seed(0)
    return _trained(DSTSLayer(6, N, shared_base=True, **kwargs)).double()


def _features(batch=5):
    return torch.randn(batch, 6, 3, 4, 4, dtype=torch.float64, requires_grad=True)


def _literal(layer, x, choice, gates):
    """The sum written out: ``S + r S_i``."""
    own_scale = (3 * layer.base.log_own_scale).exp()
    neurons = [
        SimpleNamespace(
            spatial=layer.base.spatial + own_scale * neuron.spatial,
            temporal=layer.base.temporal + own_scale * neuron.temporal,
        )
        for neuron in layer.neurons
    ]
    spatial, temporal = literal_operators(x, choice, gates, neurons)
    return layer.fuse(layer.activation(layer.spatial_norm(spatial)) + layer.activation(layer.temporal_norm(temporal)))


def _side_by_side(batch=5):
    """A layer and its literal twin on the same input with the same draws: layers, input, outputs, routing."""
    layer, x = _layer(pulse='sum', temperature=40.0), _features(batch)
    reference = copy.deepcopy(layer)
    torch.manual_seed(7)
    out, routing = layer(x)
    torch.manual_seed(7)
    choice = straight_through_gumbel(literal_pulse(x, reference.neurons), 40.0)
    gates = sample_gates(torch.stack([neuron.gate for neuron in reference.neurons]), noise=reference.gate_noise)
    assert len(routing.index.unique()) > 1
    return layer, reference, x, out, _literal(reference, x, choice, gates), routing


def _dense(gradients, like):
    return [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, like)]


def test_training_equals_the_literal_sum():
    layer, reference, x, out, expected, _ = _side_by_side()
    torch.testing.assert_close(out, expected)
    weight = torch.randn_like(out)
    ours, literal = (
        _dense(
            torch.autograd.grad((value * weight).sum(), [x, *each.parameters()], allow_unused=True),
            [x, *each.parameters()],
        )
        for each, value in ((layer, out), (reference, expected))
    )
    assert ours[1 + [name for name, _ in layer.named_parameters()].index('base.spatial')].any()
    for a, b in zip(ours, literal):
        torch.testing.assert_close(a, b)


def test_second_derivatives_equal_those_of_the_literal_sum():
    layer, reference, x, out, expected, _ = _side_by_side()
    weight, direction = torch.randn_like(out), torch.randn_like(x)
    found = []
    for each, value in ((layer, out), (reference, expected)):
        operators = [*each.base.parameters(), each.neurons[0].spatial, each.neurons[1].temporal]
        first = torch.autograd.grad((value * weight).sum(), x, create_graph=True)[0]
        found.append(_dense(torch.autograd.grad(first, operators, direction, allow_unused=True), operators))
    assert all(b.any() for b in found[1])
    for a, b in zip(*found):
        torch.testing.assert_close(a, b)


def test_evaluation_equals_the_literal_sum_on_every_path():
    layer, x = _layer(pulse='sum'), _features(16)
    layer(x)  # norm statistics that are not the identity
    layer.eval()
    index = layer(x)[1].index
    assert len(index.unique()) > 1
    choice = F.one_hot(index, N).double()
    gates = decide_gates(torch.stack([neuron.gate for neuron in layer.neurons]))
    torch.testing.assert_close(layer(x)[0], _literal(layer, x, choice, gates))
    for some in (index, torch.ones(16, dtype=torch.long)):
        torch.testing.assert_close(layer._operate_by_neuron(x, some), layer._operate_in_evaluation(x, some))


@pytest.mark.new_neurons
def test_it_starts_as_a_layer_without_it():
    necks = []
    for shared_base in (False, True):
        torch.manual_seed(0)
        necks.append(DSTSNeck(6, num_layers=2, num_neurons=N, zero_init=False, shared_base=shared_base))
    x, outputs = torch.randn(5, 6, 3, 4, 4), []
    for neck in necks:
        torch.manual_seed(1)
        outputs.append(neck(x)[0])
    torch.testing.assert_close(*outputs)


def test_what_a_neuron_owns_rests_while_it_is_idle_and_the_base_learns_from_all():
    torch.manual_seed(0)
    neck = _trained(DSTSNeck(6, num_layers=2, num_neurons=N, zero_init=False, shared_base=True))
    optimizer = torch.optim.AdamW(neck.parameters(), lr=0.1, weight_decay=0.1)
    idle_seen = 0
    for _ in range(8):
        before = {name: p.detach().clone() for name, p in neck.named_parameters()}
        out, loss_aux = neck(torch.randn(2, 6, 3, 4, 4))
        out.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        for name, parameter in neck.named_parameters():
            part = name.split('.')
            if 'base' in part:
                assert not torch.equal(parameter, before[name]), name
            elif part[-1] in ('spatial', 'temporal'):
                idle = loss_aux[f'share/l{part[1]}_n{part[3]}'] == 0
                assert torch.equal(parameter, before[name]) == bool(idle), name
                idle_seen += int(idle)
    assert idle_seen > 20


def test_own_scale_starts_from_one_by_n_and_is_logged():
    neck = DSTSNeck(6, num_layers=2, num_neurons=N, shared_base=True)
    log = neck(torch.randn(2, 6, 3, 4, 4))[1]
    for j in range(2):
        assert not log[f'own_scale/l{j}'].requires_grad
        torch.testing.assert_close(log[f'own_scale/l{j}'], torch.tensor(1 / N))
    assert 'own_scale/l0' not in DSTSNeck(6, num_layers=1, num_neurons=N)(torch.randn(2, 6, 3, 4, 4))[1]


def test_one_neuron_shares_with_nobody():
    assert DSTSLayer(6, 1, shared_base=True).base is None


def test_the_base_is_downstream():
    upstream, downstream = split_parameters(DSTSNeck(6, num_layers=1, num_neurons=N, shared_base=True))
    assert {f'layers.0.base.{name}' for name in ('spatial', 'temporal', 'log_own_scale')} <= downstream.keys()
    assert not any('base' in name for name in upstream)


def test_deployed_it_is_folded_into_the_neurons():
    torch.manual_seed(0)
    neck = _trained(DSTSNeck(6, num_layers=2, num_neurons=N, zero_init=False, shared_base=True)).double()
    x = torch.randn(16, 6, 3, 4, 4, dtype=torch.float64)
    neck(x)
    neck.eval()
    deployed = deploy(neck)
    torch.testing.assert_close(deployed(x)[0], neck(x)[0])
    assert not any('base' in name for name, _ in deployed.named_modules())
