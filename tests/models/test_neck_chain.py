"""NeckChain: one neck after the other, and checkpoints of the last one alone."""

from __future__ import annotations

import pytest
import torch
from mmaction.registry import MODELS

from mmdsts.models import DSTSNeck, NeckChain

TPN = dict(
    type='TPN',
    in_channels=(32, 64),
    out_channels=64,
    spatial_modulation_cfg=dict(in_channels=(32, 64), out_channels=64),
    temporal_modulation_cfg=dict(downsample_scales=(1, 1)),
    upsample_cfg=dict(scale_factor=(1, 1, 1)),
    downsample_cfg=dict(downsample_scale=(1, 1, 1)),
    level_fusion_cfg=dict(
        in_channels=[64, 64], mid_channels=[64, 64], out_channels=128, downsample_scales=((1, 1, 1), (1, 1, 1))
    ),
)
DSTS = dict(type='DSTSNeck', in_channels=64, num_layers=1, num_neurons=2, keep_stages=True)


def test_each_neck_works_on_what_the_one_before_returns():
    torch.manual_seed(0)
    chain = NeckChain([dict(DSTS, zero_init=False), TPN])
    stages = (torch.rand(2, 32, 2, 8, 8), torch.rand(2, 64, 2, 4, 4))
    out, losses = chain(stages)
    assert any(name.startswith('agreement/') for name in losses)
    out.square().mean().backward()
    assert chain.necks[0].layers[0].neurons[0].spatial.grad is not None
    chain.eval()
    with torch.no_grad():
        torch.testing.assert_close(chain(stages)[0], chain.necks[1](chain.necks[0](stages)[0])[0])


def test_a_checkpoint_of_the_last_neck_alone_fits():
    torch.manual_seed(0)
    plain, chain = MODELS.build(TPN).eval(), NeckChain([DSTS, TPN]).eval()
    before = chain.necks[0].state_dict()
    loaded = chain.load_state_dict({name: value.clone() for name, value in plain.state_dict().items()}, strict=False)
    assert not loaded.unexpected_keys
    assert all(name.startswith('necks.0.') for name in loaded.missing_keys)
    stages = (torch.rand(2, 32, 2, 8, 8), torch.rand(2, 64, 2, 4, 4))
    with torch.no_grad():
        assert torch.equal(chain(stages)[0], plain(stages)[0])  # a new DSTS neck is the identity
    again = NeckChain([DSTS, TPN])
    again.load_state_dict(chain.state_dict())
    assert all(torch.equal(value, again.necks[0].state_dict()[name]) for name, value in before.items())


def test_wrong_chains():
    with pytest.raises(ValueError, match='necks is empty'):
        NeckChain([])
    chain = NeckChain([DSTS, dict(DSTS, keep_stages=False)])
    with pytest.raises(ValueError, match="two necks of the chain add .*'agreement/l0'"):
        chain(torch.rand(2, 64, 2, 4, 4))
    assert isinstance(chain.necks[0], DSTSNeck)
