"""What backbones of MMAction2 return: a neck trains on it, or the message says what to set, and that works."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from mmaction.registry import MODELS
from torch import nn

import mmdsts
from mmdsts.models import DSTSNeck
from mmdsts.models.feature import feature_of

from ..action_samples import labelled

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
        feature_of((torch.rand(1, 4, 2, 3, 3), torch.rand(1, 2, 8, 3, 3)), 2, 4)
    assert model.neck.keep_stages


def test_videomae():
    with pytest.raises(TypeError, match=r'got \(2, 12\).*VideoMAE.*return_feat_map=True'):
        _train_once(VIDEOMAE, dict(in_channels=12))
    _train_once(dict(VIDEOMAE, return_feat_map=True), dict(in_channels=12))


def test_mvit():
    with pytest.raises(TypeError, match=r'got a list of \(2, 6, .*output_cls_token=False.*keep_stages=True'):
        _train_once(MVIT, dict(in_channels=6))
    mapped = dict(MVIT, output_cls_token=False)
    _train_once(mapped, dict(in_channels=6))
    _train_once(mapped, dict(in_channels=6, keep_stages=True), 'MViTHead', with_cls_token=False)


def test_backbones_that_pool():
    with pytest.raises(TypeError, match=r'got \(2, 16\).*TimeSformer, UniFormerV2 and C3D have no such option'):
        _train_once(TIMESFORMER, dict(in_channels=16))


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
    assert feature_of(stages, 0, 4) is stages[0]
    assert feature_of(stages, -1, 2) is stages[1]
    assert feature_of(stages[0], -1, 4) is stages[0]
