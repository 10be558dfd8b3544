"""DSTSRecognizer2D: each trap of METHOD 4, beside what the stock Recognizer2D does with the same parts."""

from __future__ import annotations

import pytest
import torch
from mmaction.models import Recognizer2D
from mmaction.registry import MODELS

from mmdsts.models import DSTSRecognizer2D

from .recognizers2d import C, K, S, TimeNeck, build, head, predict, samples, tsm, videos

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
class Conv3dNeck(TimeNeck):
    """Takes a tensor and nothing else."""

    def forward(self, x, data_samples=None):
        return self.conv(x), dict()


def test_several_stages_reach_the_neck_as_a_tuple():
    model = build(backbone=dict(type='FrameBackbone', stages=2, as_tuple=True))
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
        backbone=dict(type='FrameBackbone', as_tuple=True),
        neck=dict(type='TimeNeck', pool_time=True),
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


# --- fcn_test, stages, no neck -----------------------------------------------------------------------------


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
    parts = dict(backbone=dict(type='FrameBackbone'), cls_head=head(average_clips='score'))
    torch.manual_seed(0)
    stock = Recognizer2D(**parts).eval()
    for num_segments in (None, S):
        ours = DSTSRecognizer2D(num_segments=num_segments, **parts).eval()
        ours.load_state_dict(stock.state_dict())
        torch.testing.assert_close(predict(ours, videos(2, views=3)), predict(stock, videos(2, views=3)))
        torch.testing.assert_close(ours.loss(videos(2), samples(2)), stock.loss(videos(2), samples(2)))


# --- wrong settings ---------------------------------------------------------------------------------------


def test_the_number_of_segments_must_be_known_and_agree():
    with pytest.raises(ValueError, match='needs num_segments'):
        build(num_segments=None)
    with pytest.raises(ValueError, match='num_segments=8, backbone.num_segments=4'):
        build(num_segments=8, backbone=tsm(), neck=dict(type='ReduceNeck'))
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
