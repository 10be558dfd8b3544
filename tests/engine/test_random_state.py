"""Random states as values."""

import random

import numpy as np
import pytest
import torch

from mmdsts.engine.random_state import RandomState, preserve_random_state


def draw():
    return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()


def test_random_state_round_trip(tmp_path):
    np.random.standard_normal()  # leaves half a pair in the state
    state = RandomState.capture()
    expected = draw()
    assert draw() != expected
    state.restore()
    assert draw() == expected
    torch.save(state.state_dict(), tmp_path / 'state.pth')
    RandomState.from_state_dict(torch.load(tmp_path / 'state.pth', weights_only=True)).restore()
    assert draw() == expected


def test_preserve_random_state():
    start = RandomState.capture()
    expected = draw()
    before = RandomState.capture()
    following = draw()
    before.restore()
    with preserve_random_state(start):
        assert draw() == expected
    assert draw() == following
    before.restore()
    with pytest.raises(ZeroDivisionError), preserve_random_state():
        draw()[2] / 0
    assert draw() == following
