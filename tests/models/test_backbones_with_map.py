"""Backbones that hand on their tokens as a map: what they pool is as before, and tokens stand where they belong."""

from __future__ import annotations

import inspect

import pytest
import torch
from mmaction.models.backbones import VisionTransformer
from mmaction.registry import MODELS

from .test_feature import TIMESFORMER, VIDEOMAE

UNIFORMERV2 = dict(
    type='UniFormerV2',
    input_resolution=32,
    patch_size=16,
    width=16,
    layers=2,
    heads=2,
    t_size=4,
    return_list=[1],
    n_layers=1,
    n_dim=16,
    n_head=2,
    mlp_dropout=[0.5],
    clip_pretrained=False,
)


@pytest.mark.parametrize(
    ('backbone', 'grid'),
    [
        (VIDEOMAE, (2, 2, 2)),
        (TIMESFORMER, (4, 2, 2)),
        (dict(TIMESFORMER, attention_type='joint_space_time'), (4, 2, 2)),
        (dict(TIMESFORMER, attention_type='space_only'), (1, 2, 2)),
        (UNIFORMERV2, (4, 2, 2)),
    ],
)
def test_the_parent_class_and_its_tokens(backbone, grid):
    torch.manual_seed(0)
    plain = MODELS.build(backbone).eval()
    ours = MODELS.build(dict(backbone, type=f'{backbone["type"]}WithMap')).eval()
    ours.load_state_dict(plain.state_dict())
    clips = torch.rand(2, 3, 4, 32, 32)
    with torch.no_grad():
        ((found, pooled),) = ours(clips)
        assert torch.equal(pooled, plain(clips))
        assert found.shape == (2, pooled.shape[1], *grid)
        marked = clips.clone()
        marked[1, :, 2, 16:, :16] += 3  # one patch of the third frame: time 2, or 1 where two frames make a token
        change = (ours(marked)[0][0] - found).abs().sum(1)
    assert not change[0].any()
    assert change[1].argmax() == (grid[0] * 2 // 4 * 4 + 2 if grid[0] > 1 else 2)


@pytest.mark.skipif(
    'return_feat_map' not in inspect.signature(VisionTransformer).parameters, reason='MMAction2 1.0 has no such option'
)
def test_the_map_of_videomae_is_that_of_its_own_option():
    alone, ours = (
        MODELS.build(dict(VIDEOMAE, type=f'VisionTransformer{kind}', **options)).eval()
        for kind, options in (('', dict(return_feat_map=True)), ('WithMap', {}))
    )
    ours.load_state_dict(alone.state_dict())
    clips = torch.rand(2, 3, 4, 32, 32)
    assert torch.equal(ours(clips)[0][0], alone(clips))
