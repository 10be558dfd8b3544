"""Views of a test clip, crops and temporal samples: each is a clip of its own to the neck (METHOD 4)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import FormatShape, PackActionInputs, SampleFrames, TenCrop, ThreeCrop
from mmaction.models import Recognizer2D

from mmdsts.evaluation.samples import labelled, score_of

from .recognizers2d import C, S, build, head, predict, samples, videos


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
    parts = dict(backbone=dict(type='FrameBackbone', as_tuple=True), cls_head=head('I3DHead', 'score'))
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
        dict(total_frames=frames, start_index=0, label=0)  # MMAction2 1.0 packs no sample without a label
    )
    results['imgs'] = [np.full((8, 16, 3), i, np.float32) for i in results['frame_inds']]
    if crops == 10:
        results = TenCrop(crop_size=8)(results)
    packed = PackActionInputs()(FormatShape('NCHW')(results))
    return packed['inputs'][None].float(), [labelled(0, packed['data_samples'])], results['frame_inds']


@pytest.mark.parametrize('crops', [1, 10])
def test_more_test_clips_than_segments_make_views_that_span_the_video(crops):
    """As TSN is tested: 25 clips and ten crops of a model that trains on five segments."""
    inputs, data_samples, times = _times_of_frames(num_clips=25, crops=crops)
    model = build(num_segments=5)
    with torch.no_grad():
        scores = score_of(model.predict(inputs, data_samples)[0])
        views = [inputs[:, crop * 25 + first : (crop + 1) * 25 : 5] for crop in range(crops) for first in range(5)]
        alone = [score_of(model.predict(view, samples(1))[0]) for view in views]
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
    backbone = dict(type='FrameBackbone', stages=2, as_tuple=as_tuple)
    model = build(backbone=backbone)
    chunked = build(backbone=backbone, test_cfg=dict(max_testing_views=limit))
    inputs = videos(2, views=3)
    torch.testing.assert_close(predict(chunked, inputs), predict(model, inputs))
    assert max(chunked.backbone.seen) <= limit
    assert len(chunked.neck.clips) == 1  # never runs on single frames, and once


def test_stock_max_testing_views_fails():
    stock = build(Recognizer2D, backbone=dict(type='FrameBackbone', as_tuple=True), test_cfg=dict(max_testing_views=S))
    # A module has no `get`; MMAction2 1.0 knows no max_testing_views and hands (N, C, S, H, W) to a 2D head.
    with pytest.raises((AttributeError, RuntimeError), match='get|shapes cannot be multiplied'):
        predict(stock, videos(2))


def test_max_testing_views_keeps_views_whole():
    model = build(test_cfg=dict(max_testing_views=S + 1))
    with pytest.raises(ValueError, match=f'max_testing_views.*multiple of num_segments={S}.*got {S + 1}'):
        predict(model, videos(2))
