"""The parts of a config that say how parameters are updated."""

from __future__ import annotations

import pytest

from mmdsts.engine.update_config import train_loop, with_update
from mmdsts.errors import UsageError


def test_options_of_udl_are_those_of_the_config():
    wrapper = dict(
        type='UDLOptimWrapper',
        udl=dict(direct_term=True),
        amp=dict(dtype='bfloat16'),
        clip_grad=dict(x=1),
        constructor='UDLOptimWrapperConstructor',
        base_constructor='Other',
    )
    assert with_update(wrapper, True) == wrapper
    assert with_update(wrapper, False) == dict(type='OptimWrapper', clip_grad=dict(x=1))
    assert with_update(dict(optimizer=1), True) == dict(type='UDLOptimWrapper', optimizer=1)
    with pytest.raises(UsageError, match=r"optim_wrapper.type is 'DeepSpeedOptimWrapper'"):
        with_update(dict(type='DeepSpeedOptimWrapper'), True)


def test_mixed_precision_becomes_an_argument_of_udl():
    amp = dict(type='AmpOptimWrapper', optimizer=1, loss_scale=512.0)
    assert with_update(amp, False) == amp
    made = with_update(amp, True)
    assert made == dict(type='UDLOptimWrapper', optimizer=1, amp=dict(dtype='float16', loss_scale=512.0))
    # A loss scale only serves float16.
    assert with_update(dict(amp, dtype='bfloat16'), True)['amp'] == dict(dtype='bfloat16')


def test_loops_change_their_kind_and_nothing_else():
    assert train_loop(dict(by_epoch=False, max_iters=3), True) == dict(type='UDLIterBasedTrainLoop', max_iters=3)
    udl = train_loop(dict(type='EpochBasedTrainLoop', max_epochs=2), True)
    assert udl == dict(type='UDLEpochBasedTrainLoop', max_epochs=2)
    assert train_loop(dict(udl, heldout_dataloader={}), False) == dict(type='EpochBasedTrainLoop', max_epochs=2)
    assert train_loop(dict(type='MyLoop', max_epochs=2), True) == dict(type='MyLoop', max_epochs=2)
