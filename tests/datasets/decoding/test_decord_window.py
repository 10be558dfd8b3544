from __future__ import annotations

import numpy as np
import pytest

from mmdsts.datasets.decoding import AvReader, DecordWindow

from ..conftest import INEXACT_IN_DECORD, KINDS
from .numbered import number

decord = pytest.importorskip('decord')


@pytest.mark.parametrize('kind', [kind for kind in KINDS if kind not in INEXACT_IN_DECORD])
def test_the_frames_of_a_window_and_no_others(numbered, kind):
    reader = decord.VideoReader(numbered[kind], num_threads=1)
    rng = np.random.default_rng(1)
    for start in (0, *rng.uniform(0, 3, 3)):
        end = start + rng.uniform(0.2, 1)
        window, exact = DecordWindow(reader, start, end), AvReader(numbered[kind], start, end)
        assert len(window) == len(exact) > 0
        np.testing.assert_allclose(window.times, exact.times, atol=1e-3)
        indices = [len(window) - 1, *range(len(window))]
        np.testing.assert_array_equal(window.get_batch(indices), exact.get_batch(indices))
    assert window.get_avg_fps() == reader.get_avg_fps()


def test_an_hour(hour):
    reader = decord.VideoReader(hour, num_threads=1)
    for start in (0, 1800.5, 3590):
        window = DecordWindow(reader, start, start + 8)
        first = int(np.ceil(start / 2))
        assert [number(frame) for frame in window.get_batch(range(len(window)))] == list(range(first, first + 4))
