"""Random states as values, and the temperature schedule."""

import random

import numpy as np
import pytest
import torch

from mmdsts.engine import TemperatureHook
from mmdsts.engine.random_state import RandomState, preserve_random_state

from .runs import build_runner, read_log


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


@pytest.mark.parametrize(
    ('policy', 'values'),
    [
        ('linear', [4, 3, 2, 1, 1]),
        ('cosine', [4, 3.25, 1.75, 1, 1]),
        ('exponential', [4, 4 ** (2 / 3), 4 ** (1 / 3), 1, 1]),
    ],
)
def test_temperature_policies(policy, values):
    hook = TemperatureHook(4, 1, policy, until=0.75)
    assert [hook.value(x) for x in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx(values)


def test_temperature_in_a_run(tmp_path):
    runner = build_runner(tmp_path, custom_hooks=[dict(type='TemperatureHook', start=2.0, end=0.5, policy='linear')])
    runner.train()
    assert [line['temperature'] for line in read_log(tmp_path)] == pytest.approx([2, 1.75, 1.5, 1.25, 1, 0.75])
    assert all(layer.temperature == pytest.approx(0.75) for layer in runner.model.neck.layers)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(start=0, end=1), 'positive temperatures'),
        (dict(start=1, end=1, policy='step'), "policy is 'step'"),
        (dict(start=1, end=1, until=0), 'until is 0'),
    ],
)
def test_temperature_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TemperatureHook(**arguments)


def test_temperature_of_a_model_without_one(tmp_path):
    runner = build_runner(tmp_path, custom_hooks=[dict(type='TemperatureHook', start=2.0, end=1.0, module='backbone')])
    with pytest.raises(ValueError, match="has no 'backbone' with a temperature"):
        runner.train()
