"""Small configs of recognizers of every kind, with a pipeline each; nothing of them is data."""

from __future__ import annotations

import copy

import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from torch import nn

from ..models.test_backbones_with_map import UNIFORMERV2
from ..models.test_feature import SLOWFAST, TIMESFORMER, VIDEOMAE
from ..models.test_neck_chain import TPN

MVIT = dict(
    type='MViT',
    arch=dict(embed_dims=8, num_layers=2, num_heads=1, downscale_indices=[]),
    spatial_size=64,
    temporal_size=4,
    out_scales=[0],
)
SLOWONLY = dict(
    type='ResNet3dSlowOnly', depth=18, pretrained=None, base_channels=4, conv1_kernel=(1, 3, 3), inflate=(0, 0, 0, 0)
)


@MODELS.register_module(force=True)
class TokenBackbone(nn.Module):
    """Returns tokens ``(B, L, C)`` of a clip, behind a class token, and says their grid; or pools them."""

    def __init__(self, width=8, grid=(2, 2, 2), pools=False, pretrained=None):
        super().__init__()
        if pretrained:
            raise RuntimeError(f'downloads {pretrained} when it is built, as TANet does')
        self.conv = nn.Conv3d(3, width, 1)
        self.pool = nn.AdaptiveAvgPool3d(tuple(grid) if grid else (2, 2, 2))
        self.class_token = nn.Parameter(torch.rand(1, 1, width))
        self.patch_resolution, self.pools = grid, pools

    def init_weights(self):
        pass

    def forward(self, x):
        tokens = self.pool(self.conv(x)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], 1)
        return tokens.mean(1) if self.pools else tokens


@MODELS.register_module(force=True)
class ClassTokenHead(MODELS.get('TimeSformerHead')):
    """Reads the first token."""

    def forward(self, x, **kwargs):
        return super().forward(x[:, 0] if x.dim() == 3 else x)


def clips(clip_len=4, num_clips=1, test_clips=None, size=64, **dataset):
    """Loaders of which the pipelines alone matter."""
    result = {}
    for name, number in (('train', num_clips), ('val', num_clips), ('test', test_clips or num_clips)):
        pipeline = [
            dict(type='SampleFrames', clip_len=clip_len, frame_interval=2, num_clips=number, test_mode=name == 'test'),
            dict(type='Resize', scale=(-1, 256)),
            dict(type='CenterCrop', crop_size=size),
            dict(type='FormatShape', input_format='NCTHW'),
        ]
        result[f'{name}_dataloader'] = dict(dataset=dict(type='VideoDataset', pipeline=pipeline, **dataset))
    return result


def config(backbone, head, kind='Recognizer3D', neck=None, loaders=None, wrapper=None, **model) -> Config:
    parts = dict(
        type=kind, backbone=backbone, cls_head=dict(dict(num_classes=3, average_clips='prob'), **head), **model
    )
    if neck:
        parts['neck'] = neck
    return Config(
        copy.deepcopy(
            dict(
                model=parts,
                optim_wrapper=wrapper or dict(optimizer=dict(type='SGD', lr=0.01)),
                train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1),
                **(loaders or clips()),
            )
        )
    )


def slowonly(**changes) -> Config:
    return config(SLOWONLY, dict(type='I3DHead', in_channels=32), **changes)


#: Large enough for a neck of the default size in a quarter of its parameters.
WIDE = config(dict(SLOWONLY, base_channels=16), dict(type='I3DHead', in_channels=128))


def _cnn2d(kind, **settings):
    return dict(type=kind, depth=18, pretrained=None, **settings)


CONFIGS = dict(
    slowonly=slowonly(),
    slowfast=config(SLOWFAST, dict(type='SlowFastHead', in_channels=160), loaders=clips(16)),
    mvit=config(MVIT, dict(type='MViTHead', in_channels=8)),
    videomae=config(VIDEOMAE, dict(type='TimeSformerHead', in_channels=12), loaders=clips(size=32)),
    timesformer=config(TIMESFORMER, dict(type='TimeSformerHead', in_channels=16), loaders=clips(size=32)),
    uniformerv2=config(UNIFORMERV2, dict(type='UniFormerHead', in_channels=16), loaders=clips(size=32)),
    tokens=config(dict(type='TokenBackbone'), dict(type='ClassTokenHead', in_channels=8)),
    tsn=config(
        _cnn2d('ResNet'), dict(type='TSNHead', in_channels=512), 'Recognizer2D', loaders=clips(1, 3, test_clips=25)
    ),
    tsm=config(
        _cnn2d('ResNetTSM', num_segments=3, shift_div=8),
        dict(type='TSMHead', in_channels=512, num_segments=3),
        'Recognizer2D',
        loaders=clips(1, 3),
        wrapper=dict(optimizer=dict(type='SGD', lr=0.01), constructor='TSMOptimWrapperConstructor'),
    ),
    tpn=config(
        dict(SLOWONLY, base_channels=8, out_indices=(2, 3)),
        dict(type='TPNHead', in_channels=2048),
        neck=TPN,
        test_cfg=dict(fcn_test=True),
    ),
)
