"""What backbones of MMAction2 return: a neck trains on it, or the message says what to set, and that works."""

from __future__ import annotations

import copy
import inspect
import re

import pytest
import torch
from mmaction.registry import MODELS
from torch import nn

import mmdsts
from mmdsts.evaluation.samples import labelled
from mmdsts.models import DSTSNeck
from mmdsts.models.feature import FeatureAdapter

SLOWFAST = dict(
    type='ResNet3dSlowFast',
    pretrained=None,
    resample_rate=4,
    speed_ratio=4,
    channel_ratio=4,
    slow_pathway=dict(
        type='resnet3d',
        depth=18,
        pretrained=None,
        lateral=True,
        base_channels=16,
        fusion_kernel=5,
        conv1_kernel=(1, 3, 3),
        dilations=(1, 1, 1, 1),
        conv1_stride_t=1,
        pool1_stride_t=1,
        inflate=(0, 0, 1, 1),
    ),
    fast_pathway=dict(
        type='resnet3d',
        depth=18,
        pretrained=None,
        lateral=False,
        base_channels=4,
        conv1_kernel=(5, 3, 3),
        conv1_stride_t=1,
        pool1_stride_t=1,
    ),
)
VIDEOMAE = dict(
    type='VisionTransformer',
    img_size=32,
    patch_size=16,
    embed_dims=12,
    depth=1,
    num_heads=2,
    mlp_ratio=2,
    num_frames=4,
    tubelet_size=2,
)
TIMESFORMER = dict(
    type='TimeSformer',
    pretrained=None,
    num_frames=4,
    img_size=32,
    patch_size=16,
    embed_dims=16,
    num_heads=2,
    num_transformer_layers=1,
)
MVIT = dict(
    type='MViT',
    arch=dict(embed_dims=6, num_layers=2, num_heads=1, downscale_indices=[]),
    spatial_size=32,
    temporal_size=4,
    out_scales=[0],
)


def _train_once(backbone, neck, head='I3DHead', **head_kwargs):
    """Loss of two clips through a Recognizer3D, backpropagated."""
    torch.manual_seed(0)
    neck = dict(type='DSTSNeck', num_layers=1, num_neurons=2, zero_init=False, **neck)
    model = MODELS.build(
        copy.deepcopy(
            dict(
                type='Recognizer3D',
                backbone=backbone,
                neck=neck,
                cls_head=dict(type=head, num_classes=3, **{**dict(in_channels=neck['in_channels']), **head_kwargs}),
            )
        )
    )
    clips = torch.rand(2, 1, 3, 16 if backbone is SLOWFAST else 4, 32, 32)
    loss = model.loss(clips, [labelled(0), labelled(1)])['loss_cls']
    loss.backward()
    assert loss.isfinite()
    assert any(p.grad is not None and p.grad.any() for p in model.backbone.parameters())
    return model


def test_slowfast():
    with pytest.raises(ValueError, match=r'32 channels.*2 stages \(\(2, 128.*in_index=-1 .*needs keep_stages=True'):
        _train_once(SLOWFAST, dict(in_channels=128))
    model = _train_once(SLOWFAST, dict(in_channels=128, in_index=0, keep_stages=True), 'SlowFastHead', in_channels=160)
    with pytest.raises(ValueError, match='in_index=2 is none of the 2 stages'):
        FeatureAdapter(4, in_index=2).take((torch.rand(1, 4, 2, 3, 3), torch.rand(1, 2, 8, 3, 3)))
    assert model.neck.adapter.keep_stages


def test_videomae():
    with pytest.raises(TypeError, match=r'got \(2, 12\).*VideoMAE.*VisionTransformerWithMap'):
        _train_once(VIDEOMAE, dict(in_channels=12))
    if hasattr(MODELS.build(VIDEOMAE), 'return_feat_map'):  # since MMAction2 1.1
        _train_once(dict(VIDEOMAE, return_feat_map=True), dict(in_channels=12))


def test_mvit():
    _train_once(MVIT, dict(in_channels=6))
    for class_token, learns in (('unchanged', False), ('add', True)):
        neck = dict(in_channels=6, keep_stages=True, class_token=class_token)
        model = _train_once(MVIT, neck, 'MViTHead')  # it reads the class token alone
        assert learns == any(p.grad is not None and p.grad.any() for p in model.neck.layers.parameters())
    mapped = dict(MVIT, output_cls_token=False)
    _train_once(mapped, dict(in_channels=6))
    if 'with_cls_token' in inspect.signature(MODELS.get('MViTHead')).parameters:  # since MMAction2 1.1
        _train_once(mapped, dict(in_channels=6, keep_stages=True), 'MViTHead', with_cls_token=False)


def test_pooled_features_are_taken_only_when_asked_for():
    with pytest.raises(TypeError, match=r"got \(2, 16\).*TimeSformer.*'TimeSformerWithMap'.*grid=\(1, 1, 1\)"):
        _train_once(TIMESFORMER, dict(in_channels=16))
    _train_once(TIMESFORMER, dict(in_channels=16, grid=(1, 1, 1)), 'TimeSformerHead')


@pytest.mark.parametrize(
    ('shape', 'message'),
    [
        ((8, 5, 7, 7), "(8, 5, 7, 7). With a 2D backbone use model type 'DSTSRecognizer2D'"),
        ((8, 49, 5), "(8, 49, 5). With a 2D backbone use model type 'DSTSRecognizer2D'"),
        ((2, 7, 4, 7, 768), "feature_shape='NHWC' of the backbone and in_channels=768"),
        ((2, 64, 4, 7, 7), 'expected (B, 5, T, H, W), got (2, 64, 4, 7, 7); set in_channels to the width'),
    ],
)
def test_other_shapes(shape, message):
    neck = DSTSNeck(5, num_layers=1, num_neurons=2).eval()
    for module in (neck, mmdsts.deploy(neck)):
        with pytest.raises((TypeError, ValueError), match=re.escape(message)):
            module(torch.rand(shape))


def test_the_stage_is_picked():
    stages = tuple(nn.Parameter(torch.rand(1, c, 2, 3, 3)) for c in (4, 2))
    assert FeatureAdapter(4, in_index=0).take(stages) is stages[0]
    assert FeatureAdapter(2).take(stages) is stages[1]
    assert FeatureAdapter(4).take(stages[0]) is stages[0]


@pytest.mark.parametrize('tokens', [12, 13, 27, 28])  # 3 x 2 x 2 and, with larger crops, 3 x 3 x 3; a class token
def test_tokens_become_a_map_and_tokens_again(tokens):
    x = torch.rand(2, tokens, 4)
    adapter = FeatureAdapter(4, grid=(3, 2, 2))
    folded = adapter.take(x)
    side = 2 if tokens < 14 else 3
    assert folded.shape == (2, 4, 3, side, side)
    first = tokens - 3 * side * side
    assert torch.equal(folded[1, :, 2, 1, 0], x[1, first + 2 * side * side + side])
    assert torch.equal(adapter.put_back(x, folded, torch.zeros_like(folded)), x)
    added = torch.rand_like(folded)
    assert torch.equal(adapter.put_back(x, folded, added)[:, :first], x[:, :first])  # unchanged
    assert torch.equal(FeatureAdapter(4, grid=(3, 2, 2)).take(adapter.put_back(x, folded, added)), folded + added)
    if first:
        out = FeatureAdapter(4, grid=(3, 2, 2), class_token='add').put_back(x, folded, added)
        torch.testing.assert_close(out[:, 0], x[:, 0] + added.mean((2, 3, 4)))


def test_tokens_that_make_no_grid():
    with pytest.raises(ValueError, match=r'14 tokens make neither the grid \(T, H, W\) = \(3, 2, 2\) nor 3 squares'):
        FeatureAdapter(4, grid=(3, 2, 2)).take(torch.rand(2, 14, 4))
    with pytest.raises(ValueError, match='grid must be three positive integers'):
        DSTSNeck(4, grid=(3, 2))
    with pytest.raises(ValueError, match="class_token must be one of .* got 'drop'"):
        DSTSNeck(4, class_token='drop')
    with pytest.raises(TypeError, match=r"class_token='return' takes a stage.*got \(1, 4, 2, 3, 3\)"):
        FeatureAdapter(4, class_token='return').take(torch.rand(1, 4, 2, 3, 3))


def test_a_class_token_beside_a_map():
    x = ([torch.rand(2, 4, 2, 3, 3), torch.rand(2, 4)],)
    added = torch.rand(2, 4, 2, 3, 3)
    back = lambda **options: FeatureAdapter(4, **options).put_back(x, x[0][0], added)  # noqa: E731
    assert torch.equal(back(), x[0][0] + added)
    (out, token), summary = back(keep_stages=True)[0], x[0][1] + added.mean((2, 3, 4))
    assert torch.equal(out, x[0][0] + added) and torch.equal(token, x[0][1])
    assert torch.equal(back(keep_stages=True, class_token='add')[0][1], summary)
    assert torch.equal(back(class_token='return'), summary)


@pytest.mark.parametrize('options', [dict(grid=(2, 2, 2)), dict(keep_stages=True, class_token='add')])
def test_deployed_necks_take_and_return_the_same(options):
    neck = DSTSNeck(6, num_layers=1, num_neurons=2, zero_init=False, **options).eval()
    x = torch.rand(3, 9, 6) if 'grid' in options else ([torch.rand(3, 6, 2, 3, 3), torch.rand(3, 6)],)
    with torch.no_grad():
        torch.testing.assert_close(mmdsts.deploy(neck)(x)[0], neck(x)[0])
