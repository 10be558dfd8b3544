"""Small recognizers with a DSTS neck whose norms and pulses have statistics that are not the identity."""

import copy

import torch
from mmaction.registry import MODELS

CLIPS = dict(
    type='Recognizer3D',
    backbone=dict(
        type='ResNet3dSlowOnly',
        depth=18,
        pretrained=None,
        lateral=False,
        base_channels=4,
        norm_cfg=dict(type='BN3d'),
        conv1_kernel=(1, 3, 3),
        inflate=(0, 0, 0, 1),
    ),
    neck=dict(type='DSTSNeck', in_channels=32, num_layers=2, num_neurons=3, hidden_channels=8, zero_init=False),
    cls_head=dict(type='I3DHead', in_channels=32, num_classes=5, spatial_type='avg', average_clips='prob'),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[120.0, 110.0, 100.0],
        std=[60.0, 50.0, 40.0],
        to_rgb=True,
        format_shape='NCTHW',
    ),
)
CLIPS_SHAPE = (2, 3, 4, 32, 32)  # two views

FRAMES = dict(
    type='DSTSRecognizer2D',
    backbone=dict(type='ResNetTSM', depth=18, pretrained=None, num_segments=4, shift_div=8),
    neck=dict(type='DSTSNeck', in_channels=512, num_layers=2, num_neurons=3, hidden_channels=8, zero_init=False),
    cls_head=dict(
        type='TSMHead',
        num_segments=4,
        in_channels=512,
        num_classes=5,
        spatial_type='avg',
        consensus=dict(type='AvgConsensus', dim=1),
        average_clips='prob',
    ),
    data_preprocessor=dict(
        type='ActionDataPreprocessor', mean=[120.0, 110.0, 100.0], std=[60.0, 50.0, 40.0], format_shape='NCHW'
    ),
)
FRAMES_SHAPE = (8, 3, 32, 32)  # two views of four frames


def pixels(shape, batch=4):
    """Pictures of different brightness, so that samples choose different neurons."""
    torch.manual_seed(1)
    bright = torch.linspace(10, 255, batch).view(-1, *[1] * len(shape))
    return (torch.rand(batch, *shape) * bright).byte()


def build(config, shape):
    """A recognizer in evaluation, its neck's statistics taken from a batch."""
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(config)).eval()
    torch.nn.init.normal_(model.cls_head.fc_cls.weight)
    model.neck.train()
    with torch.no_grad():
        model.extract_feat(
            model.data_preprocessor(dict(inputs=list(pixels(shape)), data_samples=None))['inputs'], test_mode=True
        )
    return model.eval()
