import pytest
import torch
import torch.nn.functional as F
from mmaction.registry import MODELS

from mmdsts.analysis.ablation import TwoOperatorNeck
from mmdsts.models import DSTSNeck


def test_layer_is_the_sum_of_both_operators_fused():
    torch.manual_seed(0)
    neck = TwoOperatorNeck(in_channels=3, num_layers=2, operator_channels=5, zero_init=False).double().eval()
    x = hidden = torch.rand(2, 3, 4, 5, 5).double()
    for layer in neck.layers:
        spatial = F.conv3d(hidden, layer.spatial.weight, padding=(0, 1, 1)).relu()
        temporal = F.conv3d(hidden, layer.temporal.weight, padding=(1, 0, 0)).relu()
        scale = (1 + layer.spatial_norm.eps) ** -0.5
        hidden = F.conv3d(scale * (spatial + temporal), layer.fuse.weight, layer.fuse.bias)
    out, loss_aux = neck(x)
    assert torch.allclose(out, x + hidden)
    assert loss_aux == {}


@pytest.mark.parametrize('hidden', [None, 6])
def test_starts_as_the_identity_and_keeps_the_neck_contract(hidden):
    neck = MODELS.build(dict(type='TwoOperatorNeck', in_channels=4, num_layers=2, hidden_channels=hidden))
    x = torch.rand(2, 4, 3, 5, 5)
    assert torch.equal(neck(x)[0], x)
    stages = (torch.rand(2, 8, 3, 5, 5), x)
    assert torch.equal(neck(stages, data_samples=None)[0], x)
    neck.adapter.keep_stages = True
    assert all(map(torch.equal, neck(stages)[0], stages))


def test_one_ungated_neuron_of_the_same_width_has_the_same_operators():
    plain, static = TwoOperatorNeck(in_channels=4), DSTSNeck(in_channels=4, num_neurons=1)
    count = lambda neck, *names: sum(p.numel() for n, p in neck.named_parameters() if n.endswith(names))  # noqa: E731
    assert count(plain, 'spatial.weight') == count(static, 'spatial') == 3 * 4 * 4 * 9
    assert count(plain, 'temporal.weight') == count(static, 'temporal') == 3 * 4 * 4 * 3
    assert count(plain, 'fuse.weight', 'fuse.bias') == count(static, 'fuse.weight', 'fuse.bias')


@pytest.mark.parametrize('name', ['in_channels', 'num_layers', 'hidden_channels', 'operator_channels'])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f'{name} must be at least 1, got 0'):
        TwoOperatorNeck(**{'in_channels': 4, name: 0})
