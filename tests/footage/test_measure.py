from __future__ import annotations

import pytest

from mmdsts.datasets.clip_table import TableClip
from mmdsts.errors import UsageError
from mmdsts.footage.measure import Measures, clip_length, frame_size, measure

from .videos import write_video


def test_medians_of_files_and_windows(tmp_path):
    for i, frames in enumerate((10, 20, 40)):
        write_video(tmp_path / f'{i}.mp4', frames=frames, size=(96, 64))
    (tmp_path / 'page.mp4').write_bytes(b'<html>')
    clips = [TableClip(f'{i}.mp4', 'x') for i in range(3)] + [TableClip('page.mp4', 'x')]
    assert measure(clips, tmp_path) == Measures(2.0, 10.0, 96, 64, 4, ['page.mp4'])
    windows = [TableClip('2.mp4', 'x', 1.0, 1.5), TableClip('2.mp4', 'x', 3.0), TableClip('2.mp4', 'x', None, 9.0)]
    assert measure(windows, tmp_path).seconds == pytest.approx(1.0)
    with pytest.raises(UsageError, match='none of 1 videos can be opened, such as .*page.mp4'):
        measure(clips[3:], tmp_path)


@pytest.mark.parametrize(
    ('seconds', 'rate', 'expected'), [(0.5, 25, 8), (1.2, 25, 8), (2, 30, 16), (10, 30, 32), (4, 2, 8), (9, 2, 16)]
)
def test_a_clip_has_eight_frames_a_second_and_not_more_than_there_are(seconds, rate, expected):
    assert clip_length(Measures(seconds, rate, 64, 64, 1, [])) == expected


def test_frames_keep_the_shape_of_the_videos_and_are_not_enlarged():
    assert frame_size(Measures(1, 25, 1920, 1080, 1, []), 224, 32) == (288, 160)
    assert frame_size(Measures(1, 25, 1080, 1920, 1, []), 224, 32) == (160, 288)
    assert frame_size(Measures(1, 25, 96, 64, 1, []), 224, 32) == (96, 64)
    assert frame_size(Measures(1, 25, 640, 480, 1, []), 64, 16) == (80, 48)
