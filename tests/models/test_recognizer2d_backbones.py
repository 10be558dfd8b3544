"""2D backbones: TSM, and stand-ins for those of torchvision and timm, of which the layout of the output matters."""

from __future__ import annotations

import copy
import sys
from types import ModuleType

import pytest
import torch
from mmaction.models import Recognizer2D
from torch import nn

from mmdsts.engine.backbone import BackboneTape
from mmdsts.models import DSTSRecognizer2D

from .recognizers2d import C, K, S, build, head, predict, samples, tsm, tsm_videos, videos

# --- TSM --------------------------------------------------------------------------------------------------


def test_tsm_backbone_gives_the_number_of_segments():
    model = build(
        backbone=tsm(),
        neck=dict(type='ReduceNeck'),
        num_segments=None,
        cls_head=head('TSMHead', num_segments=S),
        test_cfg=dict(max_testing_views=2 * S),
    )
    assert model.num_segments == S
    inputs = tsm_videos(2, views=3)
    crops = [predict(model, inputs[:, v * S : (v + 1) * S]) for v in range(3)]
    torch.testing.assert_close(predict(model, inputs), torch.stack(crops).mean(0))


def test_a_backbone_that_pools_time_leaves_fewer_frames():
    model = build(
        backbone=tsm(temporal_pool=True),
        neck=dict(type='ReduceNeck'),
        num_segments=None,
        cls_head=head('TSMHead', num_segments=S, temporal_pool=True),
    )
    inputs = tsm_videos(2)
    assert predict(model, inputs).shape == (2, K)
    assert model.neck.clips[-1][:3] == (2, C, S // 2)
    model.cls_head.temporal_pool = False
    with pytest.raises(ValueError, match='temporal_pool'):
        predict(model, inputs)


# --- torchvision and timm ----------------------------------------------------------------------------------


class _Layout(nn.Module):
    """Returns C-channel features of frames in one of the layouts of torchvision and timm."""

    def __init__(self, layout, prefix=0):
        super().__init__()
        self.conv = nn.Conv2d(3, C, 3, 2, 1)
        self.layout, self.num_features, self.num_prefix_tokens = layout, C, prefix

    def features(self, x):
        x = self.conv(x)  # (frames, C, 4, 4)
        if self.layout == 'NHWC':
            return x.permute(0, 2, 3, 1)
        if self.layout == 'NLC':
            tokens = x.flatten(2).transpose(1, 2)
            return torch.cat([torch.full_like(tokens[:, : self.num_prefix_tokens], 1e6), tokens], 1)
        if self.layout == 'NC':
            return x.mean((2, 3))
        return x

    forward_features = features


def foreign(cls, kind, backbone, feature_shape=None):
    model = build(cls)
    model.backbone, model.backbone_from, model.feature_shape = backbone, kind, feature_shape
    return model


@pytest.mark.parametrize(
    ('kind', 'layout', 'prefix', 'feature_shape'),
    [
        ('torchvision', 'NCHW', 0, None),
        ('torchvision', 'NHWC', 0, 'NHWC'),
        ('timm', 'NCHW', 0, None),
        ('timm', 'NHWC', 0, None),
        ('timm', 'NHWC', 0, 'NHWC'),
        ('timm', 'NLC', 0, None),
        ('timm', 'NLC', 1, None),
        ('timm', 'NLC', 2, 'NLC'),
    ],
)
def test_torchvision_and_timm_keep_their_spatial_map(kind, layout, prefix, feature_shape):
    backbone, inputs = _Layout(layout, prefix), videos(2)
    with torch.no_grad():
        expected = backbone.conv(inputs.flatten(0, 1))
        ours = foreign(DSTSRecognizer2D, kind, backbone, feature_shape)
        torch.testing.assert_close(ours.extract_feat(inputs, stage='backbone')[0], expected)
        # The stock class pools the map that a spatial operator needs, and the prefix tokens with it.
        stock = foreign(Recognizer2D, kind, backbone, feature_shape)
        assert stock.extract_feat(inputs, stage='backbone')[0].shape[2:] == (1, 1)


class _Classifier(nn.Module):
    """A classifier with the parts of one of torchvision's."""

    def __init__(self, kind='resnet'):
        super().__init__()
        self.conv1 = nn.Conv2d(3, C, 3, 2, 1)
        if kind == 'resnet':
            self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(C, 1000)
        elif kind == 'vit':
            self.class_token, self.heads = nn.Parameter(torch.randn(1, 1, C)), nn.Linear(C, 1000)
            self.encoder = nn.Identity()
        elif kind == 'swin':
            self.features = lambda x: self.conv1(x).permute(0, 2, 3, 1)

    def forward(self, x):
        x = self.conv1(x)
        if hasattr(self, 'encoder'):
            tokens = torch.cat([self.class_token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1)
            return self.heads(self.encoder(tokens)[:, 0])
        return self.fc(self.avgpool(x).flatten(1))


@pytest.fixture
def _torchvision(monkeypatch):
    """A stand-in for torchvision, which need not be installed."""
    package, models = ModuleType('torchvision'), ModuleType('torchvision.models')
    package.models, models.net = models, _Classifier
    monkeypatch.setitem(sys.modules, 'torchvision', package)
    monkeypatch.setitem(sys.modules, 'torchvision.models', models)


@pytest.mark.usefixtures('_torchvision')
@pytest.mark.parametrize('kind', ['resnet', 'vit', 'swin'])
def test_classifiers_of_torchvision_give_their_last_map(kind):
    neck = dict(type='DSTSNeck', in_channels=C, num_layers=1, num_neurons=2)
    model = build(backbone=dict(type='torchvision.net', kind=kind), neck=neck)
    inputs = videos(2)
    for module in (model, copy.deepcopy(model)):
        with torch.no_grad():
            x, _ = module.extract_feat(inputs, stage='backbone')
            torch.testing.assert_close(x, module.backbone.conv1(inputs.flatten(0, 1)))
    model.train().loss(inputs, samples(2))['loss_cls'].backward()
    # Nothing is left that no loss would reach.
    assert all(p.grad is not None for name, p in model.backbone.named_parameters() if name != 'class_token')


@pytest.mark.usefixtures('_torchvision')
def test_a_classifier_without_a_known_map_is_refused():
    with pytest.raises(ValueError, match='_Classifier of torchvision has neither features nor one of'):
        build(backbone=dict(type='torchvision.net', kind='maxvit'))


@pytest.mark.usefixtures('_torchvision')
def test_a_head_for_the_logits_of_a_vision_transformer_is_refused():
    with pytest.raises(ValueError, match=f'in_channels=1000 is the number of logits of _Classifier.* has {C} channels'):
        build(backbone=dict(type='torchvision.net', kind='vit'), cls_head=dict(head('TSNHead'), in_channels=1000))


@pytest.mark.usefixtures('_torchvision')
def test_udl_replays_a_classifier_of_torchvision():
    """The features are recorded by the method that the recognizer calls."""
    model = build(backbone=dict(type='torchvision.net')).train()
    tape, inputs = BackboneTape(model), videos(2)
    with tape.record(detach=False):
        recorded, _ = model.extract_feat(inputs, stage='backbone')
    with tape.replay(detach=True):
        replayed, _ = model.extract_feat(inputs, stage='backbone')
    assert recorded.shape[2:] == (4, 4)
    assert torch.equal(recorded, replayed)


def test_features_without_spatial_extent_become_1x1_maps():
    model = foreign(DSTSRecognizer2D, 'timm', _Layout('NC'))
    x, _ = model.extract_feat(videos(2), stage='backbone')
    assert x.shape == (2 * S, C, 1, 1)
    assert predict(model, videos(2, views=3)).shape == (2, K)


def test_tokens_of_a_wide_picture_use_the_grid_of_the_backbone():
    backbone = _Layout('NLC', 1)
    model = foreign(DSTSRecognizer2D, 'timm', backbone)
    wide = torch.randn(1, S, 3, 8, 12)
    with pytest.raises(ValueError, match='25 tokens for a frame, 1 of them prefix'):
        model.extract_feat(wide, stage='backbone')
    backbone.patch_embed = nn.Module()
    backbone.patch_embed.grid_size = (4, 6)
    x, _ = model.extract_feat(wide, stage='backbone')
    torch.testing.assert_close(x, backbone.conv(wide[0]))


def test_unknown_layouts_are_refused():
    model = foreign(DSTSRecognizer2D, 'timm', _Layout('NLC'), feature_shape='NCHW')
    with pytest.raises(ValueError, match=r'shape \(8, 16, 8\) \(feature_shape=.NCHW.\)'):
        model.extract_feat(videos(2), stage='backbone')
