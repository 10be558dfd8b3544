from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmdsts.datasets.decoding import AvReader
from mmdsts.errors import ClipError

from ..conftest import KINDS
from .numbered import number, write_numbered

av = pytest.importorskip('av')
VIDEOS = Path(__file__).parents[2] / 'fixtures' / 'videos'


def numbers(reader, indices=None):
    indices = range(len(reader)) if indices is None else indices
    return [number(frame) for frame in reader.get_batch(indices)]


def shown(path):
    """Numbers and times of all frames, read from the first to the last."""
    with av.open(path) as container:
        start = container.start_time / 1e6
        return [(number(f.to_ndarray(format='rgb24')), float(f.time) - start) for f in container.decode(video=0)]


@pytest.mark.parametrize('kind', KINDS)
def test_the_frames_of_a_window_and_no_others(numbered, kind):
    frames = shown(numbered[kind])
    assert len(frames) > 60
    times = [time for _, time in frames]
    rng = np.random.default_rng(0)
    # At the start, in the middle, at the end; between frames, and on them.
    windows = [(0, 0.5), (-1, 0.3), (times[-1] - 0.5, times[-1] + 9)]
    windows += [(start, start + rng.uniform(0.1, 1.5)) for start in rng.uniform(0, times[-1] - 0.2, 4)]
    windows += [tuple(sorted(rng.choice(times, 2, replace=False))) for _ in range(2)]
    for start, end in windows:
        expected = [number for number, time in frames if start - 1e-6 <= time < end - 1e-6]
        reader = AvReader(numbered[kind], start, end)
        assert len(reader) == len(expected), (start, end)
        np.testing.assert_allclose(reader.times, [time for n, time in frames if n in expected], atol=1e-6)
        if expected:
            assert numbers(reader) == expected, (start, end)
            some = rng.integers(0, len(expected), 3)  # as samplers ask: not all, repeated, not in order
            assert numbers(reader, some) == [expected[i] for i in some]


@pytest.mark.parametrize('start', [0, 1800.5, 3590])
def test_windows_of_an_hour_read_little_of_it(hour, start):
    reader = AvReader(hour, start, start + 8)
    first = int(np.ceil(start / 2))
    assert numbers(reader) == [first, first + 1, first + 2, first + 3]
    assert len(reader._packets) < 60  # of 1,800: two groups of pictures at most
    assert reader.get_avg_fps() == pytest.approx(0.5, rel=0.01)


def test_open_windows_and_whole_files(numbered):
    path = numbered['B-frames, mp4']
    assert numbers(AvReader(path)) == list(range(100))
    assert numbers(AvReader(path, end=0.1)) == [0, 1, 2]
    assert numbers(AvReader(path, start=3.9)) == [98, 99]
    with open(path, 'rb') as file:
        assert numbers(AvReader(file, 2, 2.1)) == [50, 51, 52]


def test_frames_are_their_own_memory(numbered):
    # Transforms such as Flip change frames in place.
    frames = AvReader(numbered['B-frames, mp4'], 1, 2).get_batch([3, 3])
    frames[0] = 0
    assert number(frames[1]) == 28


def test_the_same_pixels_as_decord(numbered):
    decord = pytest.importorskip('decord')
    for kind in ('B-frames, mp4', 'VP9, webm'):
        theirs = decord.VideoReader(numbered[kind], num_threads=1).get_batch([3, 70]).asnumpy()
        np.testing.assert_array_equal(AvReader(numbered[kind]).get_batch([3, 70]), theirs)


def test_turned_as_the_file_says(tmp_path):
    decord = pytest.importorskip('decord')
    source = Path(write_numbered(tmp_path / 'video.mp4', np.arange(9) / 25, size=(96, 64), bf='0')).read_bytes()
    matrix = source.index(b'tkhd') + 4 + 40  # version 0: rotation matrix after 40 bytes
    one, zero = (65536).to_bytes(4, 'big'), bytes(4)
    minus = (-65536).to_bytes(4, 'big', signed=True)
    w = source[matrix + 32 : matrix + 36]
    turned = zero + one + zero + minus + zero + zero + zero + zero + w
    path = tmp_path / 'turned.mp4'
    path.write_bytes(source[:matrix] + turned + source[matrix + 36 :])
    theirs = decord.VideoReader(str(path), num_threads=1).get_batch([7]).asnumpy()
    assert theirs.shape == (1, 96, 64, 3)
    np.testing.assert_array_equal(AvReader(str(path)).get_batch([7]), theirs)


def test_what_decord_cannot_decode(tmp_path):
    for name in ('av1.mp4', 'no_duration.webm'):
        assert AvReader(str(VIDEOS / name)).get_batch([0, 3]).shape[0] == 2
    narrow = write_numbered(tmp_path / 'narrow.mp4', np.arange(5) / 25, size=(48, 48), bf='0')
    assert AvReader(narrow).get_batch([4]).shape == (1, 48, 48, 3)


def test_frames_that_are_not_there(numbered):
    reader = AvReader(numbered['B-frames, mp4'], 1, 1.2)
    for index in (5, -1):
        with pytest.raises(IndexError, match='of a window of 5 frames'):
            reader.get_batch([0, index])
    assert len(AvReader(numbered['B-frames, mp4'], 60, 61)) == 0


def test_incomplete_files(tmp_path):
    whole = (VIDEOS / 'h264.mp4').read_bytes()  # its index in front; 20 frames in 2 s
    path = tmp_path / 'cut.mp4'
    path.write_bytes(whole[: len(whole) * 2 // 3])
    assert len(AvReader(str(path), 0, 0.3)) == len(AvReader(str(VIDEOS / 'h264.mp4'), 0, 0.3))
    with pytest.raises(ClipError, match=r'clip .*cut\.mp4, 0\.300 s to 99\.000 s: the file is incomplete, its last'):
        AvReader(str(path), 0.3, 99)
    page = tmp_path / 'page.mp4'
    page.write_bytes(b'<html>not found</html>')
    with pytest.raises(ClipError, match=r'clip .*page\.mp4, 0\.000 s to 1\.000 s: expected a file such as'):
        AvReader(str(page), 0, 1)
