"""Recognizers of MMAction2 that the suites put DSTS on, and made-up data for them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.registry import DefaultScope
from torch import nn

CLASSES = 24


def slowonly(depth: int, base_channels: int = 64) -> dict[str, Any]:
    """Config of a SlowOnly without neck, 8 frames a clip."""
    width = base_channels * (8 if depth < 50 else 32)
    return dict(
        type='Recognizer3D',
        backbone=dict(
            type='ResNet3dSlowOnly',
            depth=depth,
            pretrained=None,
            lateral=False,
            base_channels=base_channels,
            conv1_kernel=(1, 7, 7),
            conv1_stride_t=1,
            pool1_stride_t=1,
            inflate=(0, 0, 1, 1),
            norm_eval=False,
        ),
        cls_head=dict(type='I3DHead', in_channels=width, num_classes=CLASSES, spatial_type='avg', average_clips='prob'),
        data_preprocessor=_preprocessor('NCTHW'),
    )


def tsm(depth: int) -> dict[str, Any]:
    """Config of a TSM without neck, 8 frames a clip."""
    return dict(
        type='DSTSRecognizer2D',
        backbone=dict(type='ResNetTSM', depth=depth, pretrained=None, num_segments=8, shift_div=8, norm_eval=False),
        cls_head=dict(
            type='TSMHead',
            num_segments=8,
            in_channels=512 if depth < 50 else 2048,
            num_classes=CLASSES,
            spatial_type='avg',
            consensus=dict(type='AvgConsensus', dim=1),
            average_clips='prob',
        ),
        data_preprocessor=_preprocessor('NCHW'),
    )


def x3d() -> dict[str, Any]:
    """Config of an X3D-M without neck."""
    return dict(
        type='Recognizer3D',
        backbone=dict(type='X3D', gamma_w=1, gamma_b=2.25, gamma_d=2.2),
        cls_head=dict(
            type='X3DHead',
            in_channels=432,
            num_classes=CLASSES,
            spatial_type='avg',
            fc1_bias=False,
            average_clips='prob',
        ),
        data_preprocessor=_preprocessor('NCTHW'),
    )


def with_dsts(config: dict[str, Any], **neck: Any) -> dict[str, Any]:
    """The same recognizer with a DSTS neck."""
    width = config['cls_head']['in_channels']
    return dict(copy.deepcopy(config), neck=dict(type='DSTSNeck', in_channels=width, **neck))


def build(config: dict[str, Any], device: str) -> nn.Module:
    """Build a recognizer from a config, which stays as it is; the same weights each time."""
    torch.manual_seed(0)
    # Names in nested configs are MMAction2's, whatever the scope of the caller.
    with DefaultScope.overwrite_default_scope('mmaction'):
        model = MODELS.build(copy.deepcopy(config)).to(device)
    # MMAction2's heads hand their scores to numpy for the training accuracy, and numpy has no bfloat16.
    model.cls_head.register_forward_hook(
        lambda head, args, scores: scores.float() if scores.dtype == torch.bfloat16 else scores
    )
    return model


def batch(config: dict[str, Any], clips: int, frames: int, size: int, seed: int = 0) -> dict[str, Any]:
    """A batch as a loader gives it: random pixels and labels."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, 3, frames, size, size) if config['type'] == 'Recognizer3D' else (frames, 3, size, size)
    labels = torch.randint(CLASSES, (clips,), generator=generator)
    return dict(
        inputs=[torch.randint(256, shape, dtype=torch.uint8, generator=generator) for _ in range(clips)],
        data_samples=[ActionDataSample().set_gt_label(label) for label in labels],
    )


def _preprocessor(format_shape: str) -> dict[str, Any]:
    return dict(type='ActionDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3, format_shape=format_shape)
