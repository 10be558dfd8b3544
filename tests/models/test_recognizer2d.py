"""DSTSRecognizer2D: each trap of METHOD 4, beside what the stock Recognizer2D does with the same parts."""

from __future__ import annotations

import copy
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import FormatShape, PackActionInputs, SampleFrames, TenCrop, ThreeCrop
from mmaction.models import Recognizer2D
from mmaction.registry import MODELS
from torch import nn

from mmdsts.engine.backbone_tape import BackboneTape
from mmdsts.models import DSTSRecognizer2D

from ..action_samples import labelled, predicted_scores

S, C, K = 4, 8, 5  # frames of a view, channels, classes


@MODELS.register_module(force=True)
class _FrameBackbone(nn.Module):
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
class _TimeNeck(nn.Module):
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
        backbone=backbone or dict(type='_FrameBackbone'),
        neck=neck or dict(type='_TimeNeck'),
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
    return torch.stack([predicted_scores(s) for s in model.predict(inputs, samples(len(inputs)))])


# --- a single-stage tensor is one feature, not a list of samples -------------------------------------------


def test_a_single_stage_tensor_is_not_iterated_over():
    inputs = videos(2)
    stock = build(Recognizer2D, neck=dict(type='Conv3dNeck'))
    with pytest.raises(TypeError, match='list'):  # a list of frames, their channels regrouped by S
        stock.loss(inputs, samples(2))

    ours = build(neck=dict(type='Conv3dNeck'))
    losses = ours.loss(inputs, samples(2))
    losses['loss_cls'].backward()
    assert ours.neck.conv.weight.grad.abs().sum() > 0
    assert ours.backbone.convs[0].weight.grad.abs().sum() > 0


@MODELS.register_module(force=True)
class Conv3dNeck(_TimeNeck):
    """Takes a tensor and nothing else."""

    def forward(self, x, data_samples=None):
        return self.conv(x), dict()


def test_several_stages_reach_the_neck_as_a_tuple():
    model = build(backbone=dict(type='_FrameBackbone', stages=2, as_tuple=True))
    received = {}
    model.neck.register_forward_pre_hook(lambda _, args: received.update(x=args[0]))
    predict(model, videos(2, views=3))
    assert isinstance(received['x'], tuple)
    assert [tuple(x.shape) for x in received['x']] == [(6, C, S, 4, 4), (6, C, S, 2, 2)]


# --- scores of a video do not depend on its batch mates ---------------------------------------------------


@pytest.mark.parametrize('name', ['TSNHead', 'TSMHead'])
@pytest.mark.parametrize('views', [1, 3])
def test_scores_do_not_depend_on_batch_mates(name, views):
    model = build(cls_head=head(name, **(dict(num_segments=S) if name == 'TSMHead' else {})))
    inputs = videos(4, views)
    together = predict(model, inputs)
    assert together.shape == (4, K)
    alone = torch.cat([predict(model, video[None]) for video in inputs])
    torch.testing.assert_close(together, alone)
    other_mates = predict(model, torch.cat([inputs[:1], videos(3, views, seed=2)]))
    torch.testing.assert_close(together[0], other_mates[0])
    assert not torch.allclose(together[0], together[1])


def test_stock_tsm_head_mixes_videos_where_ours_refuses():
    """A neck that leaves one frame of S: TSMHead takes S different videos for the frames of one."""
    parts = dict(
        backbone=dict(type='_FrameBackbone', as_tuple=True),
        neck=dict(type='_TimeNeck', pool_time=True),
        cls_head=head('TSMHead', num_segments=S),
    )
    inputs = videos(S)
    stock = build(Recognizer2D, **parts)
    scores, _ = stock.extract_feat(inputs, stage='head')
    assert scores.shape == (1, K)  # S videos, one score
    changed = inputs.clone()
    changed[1:] += 1
    assert not torch.allclose(scores[0], stock.extract_feat(changed, stage='head')[0][0])

    with pytest.raises(ValueError, match=f'TSMHead regroups features by {S} frames of a view, but gets 1'):
        build(**parts).extract_feat(inputs, stage='head')
    # With a head that takes the count from the recognizer the same neck is fine.
    parts['cls_head'] = head('TSNHead')
    ours = build(**parts)
    torch.testing.assert_close(
        ours.extract_feat(inputs, stage='head')[0][:1], ours.extract_feat(inputs[:1], stage='head')[0]
    )


# --- crops and temporal samples are views of their own ----------------------------------------------------


@pytest.mark.parametrize('average_clips', ['score', 'prob'])
@pytest.mark.parametrize('name', ['TSNHead', 'TSMHead'])
def test_three_crop_score_is_the_mean_of_the_crops(name, average_clips):
    extra = dict(num_segments=S) if name == 'TSMHead' else {}
    model = build(cls_head=head(name, average_clips, **extra))
    inputs = videos(2, views=3)
    crops = [predict(model, inputs[:, v * S : (v + 1) * S]) for v in range(3)]
    assert not torch.allclose(crops[0], crops[1])
    torch.testing.assert_close(predict(model, inputs), torch.stack(crops).mean(0))
    assert model.neck.clips[-1] == (6, C, S, 4, 4)


def test_stock_convolves_across_crop_borders():
    """The stock class with a head that takes clips: three crops become one clip of 3*S frames."""
    parts = dict(backbone=dict(type='_FrameBackbone', as_tuple=True), cls_head=head('I3DHead', 'score'))
    inputs = videos(2, views=3)
    stock = build(Recognizer2D, **parts)
    crops = [predict(stock, inputs[:, v * S : (v + 1) * S].contiguous()) for v in range(3)]
    assert not torch.allclose(predict(stock, inputs), torch.stack(crops).mean(0), atol=1e-4)
    assert stock.neck.clips[-1] == (2, C, 3 * S, 4, 4)

    # Same weights, our regrouping; fcn_test hands clips to the head.
    ours = build(test_cfg=dict(fcn_test=True), **parts)
    ours.load_state_dict(stock.state_dict())
    crops = [predict(ours, inputs[:, v * S : (v + 1) * S]) for v in range(3)]
    torch.testing.assert_close(predict(ours, inputs), torch.stack(crops).mean(0))


@pytest.mark.parametrize('twice', [False, True])
@pytest.mark.parametrize('crops', [1, 3])
def test_pipeline_lays_frames_out_view_by_view(twice, crops):
    """MMAction2's own transforms: each run of S frames is one crop at one set of times."""
    frames = [np.zeros((8, 16, 3), np.float32) for _ in range(16)]
    for t, frame in enumerate(frames):
        frame[..., 0] = t
        frame[..., 1] = np.arange(16)
    results = SampleFrames(clip_len=1, num_clips=S, twice_sample=twice, test_mode=True)(
        dict(total_frames=16, start_index=0)
    )
    results['imgs'] = [frames[i] for i in results['frame_inds']]
    if crops == 3:
        results = ThreeCrop(crop_size=8)(results)
    inputs = torch.from_numpy(FormatShape('NCHW')(results)['imgs'])  # (V*S, 3, H, W)
    views = (2 if twice else 1) * crops
    assert inputs.shape[0] == views * S
    of_view = inputs.reshape(views, S, *inputs.shape[1:])
    times, left = of_view[:, :, 0, 0, 0], of_view[:, :, 1, 0, 0]
    assert (times.diff(dim=1) > 0).all()  # in order within a view
    assert (left == left[:, :1]).all()  # one crop within a view
    assert len({(t[0].item(), x[0].item()) for t, x in zip(times, left)}) == views

    model = build(cls_head=head(average_clips='prob'))
    alone = torch.stack([predict(model, view[None])[0] for view in of_view])
    torch.testing.assert_close(predict(model, inputs[None])[0], alone.mean(0))


def _times_of_frames(num_clips, clip_len=1, crops=1, twice=False, frames=100):
    """A packed test sample whose frames show their time in each pixel, and which times were sampled."""
    results = SampleFrames(clip_len=clip_len, num_clips=num_clips, twice_sample=twice, test_mode=True)(
        dict(total_frames=frames, start_index=0)
    )
    results['imgs'] = [np.full((8, 16, 3), i, np.float32) for i in results['frame_inds']]
    if crops == 10:
        results = TenCrop(crop_size=8)(results)
    packed = PackActionInputs()(FormatShape('NCHW')(results))
    return packed['inputs'][None].float(), [packed['data_samples'].set_gt_label(0)], results['frame_inds']


@pytest.mark.parametrize('crops', [1, 10])
def test_more_test_clips_than_segments_make_views_that_span_the_video(crops):
    """As TSN is tested: 25 clips and ten crops of a model that trains on five segments."""
    inputs, data_samples, times = _times_of_frames(num_clips=25, crops=crops)
    model = build(num_segments=5)
    with torch.no_grad():
        scores = predicted_scores(model.predict(inputs, data_samples)[0])
        views = [inputs[:, crop * 25 + first : (crop + 1) * 25 : 5] for crop in range(crops) for first in range(5)]
        alone = [predicted_scores(model.predict(view, samples(1))[0]) for view in views]
    torch.testing.assert_close(scores, torch.stack(alone).mean(0))
    # Each view has one frame of each fifth of the video, as the view of a training clip.
    for first in range(5):
        assert [time // 20 for time in times[first::5]] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(('num_clips', 'clip_len', 'twice'), [(S, 1, False), (S, 1, True), (2, S, False), (1, S, 0)])
def test_clips_that_are_views_stay_as_they_are(num_clips, clip_len, twice):
    inputs, data_samples, _ = _times_of_frames(num_clips, clip_len, twice=twice)
    model = build()
    assert torch.equal(model.side_by_side(inputs, data_samples), inputs)


@pytest.mark.parametrize(('num_clips', 'clip_len'), [(6, 2), (6, 1)])
def test_clips_that_make_no_views_are_refused(num_clips, clip_len):
    inputs, data_samples, _ = _times_of_frames(num_clips, clip_len)
    with pytest.raises(ValueError, match=f'num_clips={num_clips} clips of clip_len={clip_len} frames.*num_segments=4'):
        build().predict(inputs, data_samples)


# --- max_testing_views -------------------------------------------------------------------------------------


@pytest.mark.parametrize('as_tuple', [False, True])
@pytest.mark.parametrize('limit', [S, 2 * S, 100 * S])
def test_max_testing_views_gives_the_same_scores(limit, as_tuple):
    backbone = dict(type='_FrameBackbone', stages=2, as_tuple=as_tuple)
    model = build(backbone=backbone)
    chunked = build(backbone=backbone, test_cfg=dict(max_testing_views=limit))
    inputs = videos(2, views=3)
    torch.testing.assert_close(predict(chunked, inputs), predict(model, inputs))
    assert max(chunked.backbone.seen) <= limit
    assert len(chunked.neck.clips) == 1  # never runs on single frames, and once


def test_stock_max_testing_views_fails():
    stock = build(Recognizer2D, backbone=dict(type='_FrameBackbone', as_tuple=True), test_cfg=dict(max_testing_views=S))
    # A module has no `get`; MMAction2 1.0 knows no max_testing_views and hands (N, C, S, H, W) to a 2D head.
    with pytest.raises((AttributeError, RuntimeError), match='get|shapes cannot be multiplied'):
        predict(stock, videos(2))


def test_max_testing_views_keeps_views_whole():
    model = build(test_cfg=dict(max_testing_views=S + 1))
    with pytest.raises(ValueError, match=f'max_testing_views.*multiple of num_segments={S}.*got {S + 1}'):
        predict(model, videos(2))


# --- TSM --------------------------------------------------------------------------------------------------


def tsm(num_segments=S, **kwargs):
    return dict(type='ResNetTSM', depth=18, num_segments=num_segments, shift_div=8, norm_eval=False, **kwargs)


@MODELS.register_module(force=True)
class _ReduceNeck(_TimeNeck):
    """ResNet-18's 512 channels to C, then as its parent."""

    def __init__(self):
        super().__init__()
        self.reduce = nn.Conv3d(512, C, 1)

    def forward(self, x, data_samples=None):
        return super().forward(self.reduce(x), data_samples)


def tsm_videos(n, views=1):
    return nn.functional.interpolate(videos(n, views).flatten(0, 1), scale_factor=4).unflatten(0, (n, -1))


def test_tsm_backbone_gives_the_number_of_segments():
    model = build(
        backbone=tsm(),
        neck=dict(type='_ReduceNeck'),
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
        neck=dict(type='_ReduceNeck'),
        num_segments=None,
        cls_head=head('TSMHead', num_segments=S, temporal_pool=True),
    )
    inputs = tsm_videos(2)
    assert predict(model, inputs).shape == (2, K)
    assert model.neck.clips[-1][:3] == (2, C, S // 2)
    model.cls_head.temporal_pool = False
    with pytest.raises(ValueError, match='temporal_pool'):
        predict(model, inputs)


# --- fcn_test, stages, no neck ----------------------------------------------------------------------------


def test_fcn_test_gives_the_scores_of_the_averaging_head():
    plain = build(cls_head=head('TPNHead', 'score'))
    dense = build(cls_head=head('TPNHead', 'score'), test_cfg=dict(fcn_test=True))
    inputs = videos(2, views=3)
    torch.testing.assert_close(predict(dense, inputs), predict(plain, inputs))
    x, kwargs = dense.extract_feat(inputs, test_mode=True)
    assert x.shape == (6, C, S, 4, 4)
    assert kwargs['fcn_test'] is True


def test_stages_and_the_shortcut_from_the_backbone():
    model, inputs = build(), videos(2)
    x, kwargs = model.extract_feat(inputs, stage='backbone')
    assert x.shape == (2 * S, C, 4, 4)
    assert kwargs == dict(num_segs=S)
    y, after = model.forward_neck(x, kwargs)
    z, direct = model.extract_feat(inputs, stage='neck')
    assert y.shape == (2 * S, C, 4, 4)
    torch.testing.assert_close(y, z)
    assert kwargs == dict(num_segs=S)  # left as it was
    assert after['num_segs'] == direct['num_segs'] == S
    assert set(after['loss_aux']) == {'loss_neck'}
    scores, _ = model.extract_feat(inputs, stage='head')
    torch.testing.assert_close(scores, model.cls_head(y, num_segs=S))
    torch.testing.assert_close(model(inputs), x)  # mode 'tensor'
    with pytest.raises(ValueError, match="stage must be one of .* got 'tail'"):
        model.extract_feat(inputs, stage='tail')


def test_losses_of_the_neck_are_added():
    losses = build().loss(videos(2), samples(2))
    assert losses['loss_neck'] > 0
    assert losses['loss_cls'] > 0


def test_without_neck_as_the_parent_class():
    parts = dict(backbone=dict(type='_FrameBackbone'), cls_head=head(average_clips='score'))
    torch.manual_seed(0)
    stock = Recognizer2D(**parts).eval()
    for num_segments in (None, S):
        ours = DSTSRecognizer2D(num_segments=num_segments, **parts).eval()
        ours.load_state_dict(stock.state_dict())
        torch.testing.assert_close(predict(ours, videos(2, views=3)), predict(stock, videos(2, views=3)))
        torch.testing.assert_close(ours.loss(videos(2), samples(2)), stock.loss(videos(2), samples(2)))


# --- torchvision and timm backbones (small stand-ins: what matters is the layout they return) --------------


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


# --- wrong settings ---------------------------------------------------------------------------------------


def test_the_number_of_segments_must_be_known_and_agree():
    with pytest.raises(ValueError, match='needs num_segments'):
        build(num_segments=None)
    with pytest.raises(ValueError, match='num_segments=8, backbone.num_segments=4'):
        build(num_segments=8, backbone=tsm(), neck=dict(type='_ReduceNeck'))
    with pytest.raises(ValueError, match='num_segments=4, cls_head.num_segments=8'):
        build(cls_head=head('TSMHead', num_segments=8))
    with pytest.raises(ValueError, match='test_cfg.num_segs=2'):
        build(test_cfg=dict(num_segs=2))
    with pytest.raises(ValueError, match='at least 1, got 0'):
        build(num_segments=0)


def test_frames_that_make_no_views_are_refused():
    model = build()
    with pytest.raises(ValueError, match='6 frames of a video .* whole views of num_segments=4'):
        predict(model, torch.randn(2, 6, 3, 8, 8))
    with pytest.raises(ValueError, match='12 frames, 3 views of num_segments=4'):
        model.loss(videos(2, views=3), samples(2))
    with pytest.raises(ValueError, match=r'got shape \(2, 3, 4, 8, 8, 1\).*FormatShape'):
        predict(model, torch.randn(2, 3, 4, 8, 8, 1))


def test_a_neck_that_breaks_the_contract_is_refused():
    model = build()
    model.neck.forward = lambda x, data_samples=None: (x.mean((2, 3, 4)), dict())
    with pytest.raises(ValueError, match=r'the neck returned shape \(2, 8\); expected \(2, C, S, H, W\)'):
        predict(model, videos(2))


# --- with the real neck -----------------------------------------------------------------------------------


def test_with_the_dsts_neck():
    neck = dict(type='DSTSNeck', in_channels=C, num_layers=2, num_neurons=3, zero_init=False)
    model = build(neck=neck, cls_head=head('TSMHead', num_segments=S))
    inputs = videos(3, views=3)
    crops = [predict(model, inputs[:, v * S : (v + 1) * S]) for v in range(3)]
    torch.testing.assert_close(predict(model, inputs), torch.stack(crops).mean(0))
    assert model.neck.last_active.shape == (2, 9)  # layers, videos x views
    model.train()
    losses = model.loss(videos(3), samples(3))
    losses['loss_cls'].backward()
    assert model.neck.layers[0].fuse.weight.grad.abs().sum() > 0
