"""MMEngine's EMAHook over UDL and over the plain update; resuming with it is in test_resume.py."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import load_checkpoint

from .runs import VALIDATION, build_runner, loader
from .toy_recognizer import build_recognizer

MOMENTUM = 0.3
PLAIN = dict(
    train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=2),
    optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05)),
)


@HOOKS.register_module(force=True)
class FollowingHook(Hook):
    """Keeps the average of the parameters as it is defined, and the parameters that validation sees."""

    priority = 'VERY_LOW'  # after EMAHook

    def __init__(self, seen):
        self.seen = seen

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        live = {name: value.detach().clone() for name, value in runner.model.named_parameters()}
        before = self.seen.get('average')
        # The first iteration gives the average its start.
        self.seen['average'] = {
            name: value if before is None else before[name].lerp(value, MOMENTUM) for name, value in live.items()
        }

    def before_val_epoch(self, runner):
        self.seen['validated'] = copy.deepcopy(runner.model.state_dict())


@pytest.mark.parametrize('update', ['udl', 'plain'])
def test_average_is_validated_saved_and_loaded(tmp_path, update):
    seen = {}
    runner = build_runner(
        tmp_path,
        val_dataloader=loader(4),
        **VALIDATION,
        **(PLAIN if update == 'plain' else {}),
        custom_hooks=[dict(type='EMAHook', momentum=MOMENTUM), dict(type='FollowingHook', seen=seen)],
    )
    # Not through the config, which the runner copies.
    next(hook for hook in runner.hooks if isinstance(hook, FollowingHook)).seen = seen
    runner.train()
    live = runner.model.state_dict()
    parameters = {name for name, _ in runner.model.named_parameters()}
    assert {'neck.layers.0.neurons.0.gate', 'backbone.conv.weight'} <= parameters
    for name, value in seen['average'].items():
        torch.testing.assert_close(seen['validated'][name], value)
    # Averaged indeed, and the model has its own weights again.
    assert (seen['validated']['backbone.conv.weight'] - live['backbone.conv.weight']).abs().max() > 0
    # Buffers are those of the model (update_buffers=False).
    for name in live.keys() - parameters:
        assert torch.equal(seen['validated'][name], live[name]), name

    # What tools/test.py, tools/demo.py and tools/deploy.py load of a checkpoint is the average.
    model = build_recognizer(seed=7, dtype=torch.float32)
    load_checkpoint(model, str(tmp_path / 'epoch_2.pth'), strict=True)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, seen['validated'][name])
