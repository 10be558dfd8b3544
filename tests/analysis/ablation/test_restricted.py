import copy

import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from mmdsts.analysis.ablation import TwoOperatorNeck
from mmdsts.analysis.ablation.restricted import (
    FixedRoutingLayer,
    FixedRoutingNeck,
    SpatialLayer,
    SpatialNeck,
    TemporalLayer,
    TemporalNeck,
    UngatedLayer,
    UngatedNeck,
)
from mmdsts.models import DSTSNeck
from mmdsts.models.routed_conv.literal import literal_conv

C, N = 4, 3


@pytest.fixture
def x():
    torch.manual_seed(1)
    return torch.randn(6, C, 4, 5, 5, dtype=torch.float64)


def literal(layer, x, index, operators):
    """Every sample with its neuron."""
    choice, everything = F.one_hot(torch.tensor(index), N).to(x.dtype), torch.ones(N, C, dtype=x.dtype)
    z = {
        name: literal_conv(x, choice, everything, weights)
        for name, weights in zip(('spatial', 'temporal'), zip(*(n.operators(layer.base) for n in layer.neurons)))
        if name in operators
    }
    norms = dict(spatial=layer.spatial_norm, temporal=layer.temporal_norm)
    return layer.fuse(sum(layer.activation(norms[name](z[name])) for name in operators))


@pytest.mark.parametrize('shared_base', [False, True])
@pytest.mark.parametrize('training', [True, False], ids=['training', 'evaluation'])
@pytest.mark.parametrize(
    'kind, operators',
    [(UngatedLayer, ('spatial', 'temporal')), (SpatialLayer, ('spatial',)), (TemporalLayer, ('temporal',))],
)
def test_operators_read_all_channels(x, kind, operators, training, shared_base):
    layer = kind(C, N, shared_base=shared_base).double().train(training)
    out, routing = layer(x)
    assert len(set(routing.index.tolist())) > 1
    assert torch.allclose(out, literal(layer, x, routing.index.tolist(), operators))


@pytest.mark.parametrize('shared_base', [False, True])
@pytest.mark.parametrize('kind, operators', [(UngatedNeck, 12), (SpatialNeck, 9), (TemporalNeck, 3)])
def test_what_is_left_out_is_neither_trained_nor_counted(x, kind, operators, shared_base):
    neck = kind(in_channels=C, num_layers=2, num_neurons=N, zero_init=False, shared_base=shared_base).double()
    trained = sum(p.numel() for p in neck.parameters() if p.requires_grad)
    norms = 2 * C * (2 if operators == 12 else 1)
    scale_of_pulses = 1
    base = C * C * operators + 1 if shared_base else 0
    assert trained == 2 * (N * (C * C * (1 + operators)) + base + norms + C * C + C + scale_of_pulses)
    out, log = neck(x)
    out.sum().backward()
    for name, parameter in neck.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
    assert 'share/l0_n0' in log
    assert 'temporal/l0' not in log
    assert 'flipped/l0' not in log


def test_one_operator_sees_one_of_space_and_time(x):
    frames, columns = torch.randperm(4), torch.randperm(5)
    spatial, temporal = SpatialLayer(C, N).double().eval(), TemporalLayer(C, N).double().eval()
    assert torch.allclose(spatial(x[:, :, frames])[0], spatial(x)[0][:, :, frames])
    assert torch.allclose(temporal(x[..., columns])[0], temporal(x)[0][..., columns])


def test_fixed_routing_trains_where_the_test_goes_and_never_moves(x):
    layer = FixedRoutingLayer(C, N).double()
    layer(x)  # the running statistics of the pulses are those of this batch from here on
    trained, tested = layer(x)[1], layer.eval()(x)[1]
    assert torch.equal(trained.index, trained.pulse.argmax(dim=1))
    assert torch.equal(trained.index, tested.index)
    neck = FixedRoutingNeck(in_channels=C, num_layers=2, num_neurons=N, zero_init=False).double()
    before = [neuron.score.clone() for layer in neck.layers for neuron in layer.neurons]
    optimizer = torch.optim.AdamW(neck.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        neck(x)[0].square().sum().backward()
        optimizer.step()
    after = [neuron.score for layer in neck.layers for neuron in layer.neurons]
    assert all(map(torch.equal, before, after))
    moved = [neuron.gate.grad is not None for layer in neck.layers for neuron in layer.neurons]
    assert any(moved)


@pytest.mark.parametrize('kind', [FixedRoutingNeck, UngatedNeck, SpatialNeck, TemporalNeck, TwoOperatorNeck])
def test_statistics_move_once_under_activation_checkpointing(x, kind):
    neck = kind(in_channels=C, num_layers=1, zero_init=False).double()
    same = copy.deepcopy(neck)
    for function in (neck, lambda x: checkpoint(same, x, use_reentrant=False)):
        torch.manual_seed(2)
        function(x)[0].sum().backward()
    for (name, buffer), other in zip(neck.named_buffers(), same.buffers()):
        assert torch.equal(buffer, other), name


def test_all_are_dsts_necks():
    assert all(issubclass(kind, DSTSNeck) for kind in (FixedRoutingNeck, UngatedNeck, SpatialNeck, TemporalNeck))
