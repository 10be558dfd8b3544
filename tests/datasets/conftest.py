from __future__ import annotations

import numpy as np
import pytest

from .decoding.numbered import write_numbered

try:
    import av  # noqa: F401  before decord, whose libvpx PyAV's encoder of VP9 would be given
except ImportError:
    pass

CONSTANT = np.arange(100) / 25
VARIABLE = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.1, 100))
B_FRAMES = dict(bf='3', preset='veryfast', **{'x264-params': 'scenecut=0:keyint=24'})
#: Times of the frames, container and how the video is encoded.
KINDS = {
    'no B-frames, mp4': (CONSTANT, 'mp4', dict(bf='0', preset='ultrafast')),
    'B-frames, mp4': (CONSTANT, 'mp4', B_FRAMES),
    'B-frames, mkv': (CONSTANT, 'mkv', B_FRAMES),
    'variable rate, mp4': (VARIABLE, 'mp4', dict(bf='0', preset='ultrafast')),
    'variable rate and B-frames, mkv': (VARIABLE, 'mkv', B_FRAMES),
    'open groups of pictures, mkv': (
        CONSTANT,
        'mkv',
        dict(bf='3', **{'x264-params': 'open-gop=1:b-pyramid=2:scenecut=0:keyint=24'}),
    ),
    'H.265, mp4': (CONSTANT, 'mp4', dict(codec='libx265', preset='ultrafast', **{'x265-params': 'log-level=0'})),
    'VP9, webm': (VARIABLE, 'webm', {'codec': 'libvpx-vp9', 'deadline': 'realtime', 'cpu-used': '8'}),
    'a keyframe at the start only, mp4': (CONSTANT, 'mp4', dict(bf='2', gop=1000)),
    'refreshed bit by bit, mp4': (CONSTANT, 'mp4', dict(bf='0', **{'x264-params': 'intra-refresh=1:keyint=24'})),
    'first time not 0, mp4': (CONSTANT + 5, 'mp4', B_FRAMES),
    'edit list, mp4': (CONSTANT - 1.3, 'mp4', B_FRAMES),
    'no seeking by keyframes, ts': (CONSTANT, 'ts', B_FRAMES),
}
#: Where decord gives other frames than it is asked for, or half-decoded ones.
INEXACT_IN_DECORD = (
    'open groups of pictures, mkv',
    'H.265, mp4',
    'refreshed bit by bit, mp4',
    'edit list, mp4',
    'no seeking by keyframes, ts',
)


@pytest.fixture(scope='session')
def numbered(tmp_path_factory):
    """Videos of each kind, by its name."""
    pytest.importorskip('av')
    folder = tmp_path_factory.mktemp('numbered')
    return {
        kind: write_numbered(folder / f'{i}.{suffix}', times, **options)
        for i, (kind, (times, suffix, options)) in enumerate(KINDS.items())
    }


@pytest.fixture(scope='session')
def hour(tmp_path_factory):
    """A video of an hour, a frame each two seconds."""
    pytest.importorskip('av')
    return write_numbered(tmp_path_factory.mktemp('hour') / 'hour.mp4', np.arange(1800) * 2, **B_FRAMES)
