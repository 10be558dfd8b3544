from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mmaction.registry import TRANSFORMS
from mmengine.dataset import Compose

from mmdsts.datasets.decoding import choice
from mmdsts.errors import ClipError

from ..decoding.numbered import number, write_numbered

pytest.importorskip('decord')
VIDEOS = Path(__file__).parents[2] / 'fixtures' / 'videos'
SAMPLERS = [
    dict(type='UniformSample', clip_len=4),
    dict(type='UniformSample', clip_len=4, num_clips=2, test_mode=True),
    dict(type='SampleFrames', clip_len=4, frame_interval=5, num_clips=2),
    dict(type='SampleFrames', clip_len=1, num_clips=4, twice_sample=True, test_mode=True),
    dict(type='SampleFrames', clip_len=4, frame_interval=3, num_clips=1, target_fps=10),
    dict(type='DenseSampleFrames', clip_len=4, frame_interval=2, num_clips=2),
]


def run(sample, sampler, names=('ClipInit', 'ClipDecode'), seed=0, **kwargs):
    np.random.seed(seed)
    steps = [dict(type=names[0], **kwargs), sampler, dict(type=names[1])]
    return Compose([TRANSFORMS.build(step) for step in steps])(dict(sample, start_index=0, modality='RGB'))


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_without_a_window_they_are_mmaction2s(sampler):
    sample = dict(filename=str(VIDEOS / 'h264.mp4'))
    ours, theirs = (
        run(sample, sampler, names) for names in (('ClipInit', 'ClipDecode'), ('DecordInit', 'DecordDecode'))
    )
    assert ours.keys() == theirs.keys()
    assert ours.pop('video_reader') is theirs.pop('video_reader') is None
    np.testing.assert_equal(ours, theirs)


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_every_sampled_frame_lies_in_the_window(numbered, sampler):
    sample = dict(filename=numbered['variable rate and B-frames, mkv'], start=1.5, end=2.5)
    reader = choice.open_window(sample['filename'], 1.5, 2.5)
    inside = {number(frame) for frame in reader.get_batch(range(len(reader)))}
    assert 10 < len(inside) < 40
    for seed in range(3):
        results = run(sample, sampler, seed=seed)
        assert results['total_frames'] == len(inside)
        assert {number(frame) for frame in results['imgs']} <= inside
        assert results['img_shape'] == results['original_shape'] == (48, 64)
        assert results['video_reader'] is None


def test_a_window_of_an_hour(hour):
    results = run(dict(filename=hour, start=1800, end=1816), dict(type='UniformSample', clip_len=4, test_mode=True))
    assert [number(frame) for frame in results['imgs']] == [900, 902, 904, 905]


def test_what_decord_cannot_decode(tmp_path, monkeypatch):
    pytest.importorskip('av')
    monkeypatch.setattr(choice, '_said', set())
    # decord opens the last one, and fails when it decodes.
    paths = [str(VIDEOS / 'av1.mp4'), str(VIDEOS / 'no_duration.webm')]
    paths.append(write_numbered(tmp_path / 'narrow.mp4', np.arange(9) / 25, size=(48, 48), bf='0'))
    for path in paths:
        for _ in range(2):
            results = run(dict(filename=path), dict(type='UniformSample', clip_len=4, test_mode=True))
            assert len(results['imgs']) == 4
            assert choice.is_said(path)


def test_a_clip_that_is_broken(tmp_path):
    whole = (VIDEOS / 'h264.mp4').read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(whole[:3000])
    with pytest.raises(Exception, match='av_read_frame failed'):
        run(dict(filename=str(tmp_path / 'cut.mp4')), SAMPLERS[0])
    with pytest.raises(ClipError, match='7.000 s to the end: no frame'):
        run(dict(filename=str(VIDEOS / 'h264.mp4'), start=7), SAMPLERS[0])
