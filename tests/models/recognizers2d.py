"""Small 2D recognizers, ours and the stock one, for tests: frames of 8 x 8 pixels, a neck that looks over time."""

from __future__ import annotations

import torch
from mmaction.registry import MODELS
from torch import nn

from mmdsts.evaluation.samples import labelled, score_of
from mmdsts.models import DSTSRecognizer2D

S, C, K = 4, 8, 5  # frames of a view, channels, classes


@MODELS.register_module(force=True)
class FrameBackbone(nn.Module):
    """A 2D backbone that works frame by frame; with ``out_indices`` a tuple of stages."""

    def __init__(self, stages=1, as_tuple=False):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3 if i == 0 else C, C, 3, 2, 1) for i in range(stages))
        self.as_tuple = as_tuple
        self.seen = []

    def init_weights(self):
        pass

    def forward(self, x):
        self.seen.append(x.shape[0])
        outs = []
        for conv in self.convs:
            x = conv(x).relu()
            outs.append(x)
        return tuple(outs) if self.as_tuple else x


@MODELS.register_module(force=True)
class TimeNeck(nn.Module):
    """Stands for a DSTS neck: convolves over time, so what it sees as one clip matters."""

    def __init__(self, pool_time=False):
        super().__init__()
        self.conv = nn.Conv3d(C, C, (3, 1, 1), padding=(1, 0, 0))
        self.pool_time = pool_time
        self.clips = []

    def forward(self, x, data_samples=None):
        x = x[-1] if isinstance(x, (tuple, list)) else x
        self.clips.append(tuple(x.shape))
        x = x + self.conv(x).tanh()
        if self.pool_time:
            x = x.mean(2, keepdim=True)
        return x, dict(loss_neck=x.square().mean())


def head(name='TSNHead', average_clips='prob', **kwargs):
    return dict(type=name, num_classes=K, in_channels=C, dropout_ratio=0, average_clips=average_clips, **kwargs)


def build(cls=DSTSRecognizer2D, cls_head=None, backbone=None, neck=None, **kwargs):
    if cls is DSTSRecognizer2D:
        kwargs.setdefault('num_segments', S)
    torch.manual_seed(0)
    model = cls(
        backbone=backbone or dict(type='FrameBackbone'),
        neck=neck or dict(type='TimeNeck'),
        cls_head=cls_head or head(),
        **kwargs,
    )
    nn.init.normal_(model.cls_head.fc_cls.weight, std=0.5)
    return model.eval()


def videos(n, views=1, seed=1):
    return torch.randn(n, views * S, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def samples(n):
    return [labelled(i % K) for i in range(n)]


@torch.no_grad()
def predict(model, inputs):
    return torch.stack([score_of(s) for s in model.predict(inputs, samples(len(inputs)))])


def tsm(num_segments=S, **kwargs):
    return dict(type='ResNetTSM', depth=18, num_segments=num_segments, shift_div=8, norm_eval=False, **kwargs)


@MODELS.register_module(force=True)
class ReduceNeck(TimeNeck):
    """ResNet-18's 512 channels to C, then as its parent."""

    def __init__(self):
        super().__init__()
        self.reduce = nn.Conv3d(512, C, 1)

    def forward(self, x, data_samples=None):
        return super().forward(self.reduce(x), data_samples)


def tsm_videos(n, views=1):
    return nn.functional.interpolate(videos(n, views).flatten(0, 1), scale_factor=4).unflatten(0, (n, -1))
