"""UDL with what else people use of MMEngine: early stopping, EMA, the log."""

import json

from mmdsts.engine import UDLOptimWrapper

from .runs import VALIDATION, build_runner, loader
from .test_optim_wrapper import build_wrapper
from .toy_recognizer import build_recognizer, make_batch


def test_early_stopping(tmp_path):
    runner = build_runner(
        tmp_path,
        epochs=9,
        val_dataloader=loader(4),
        **VALIDATION,
        custom_hooks=[dict(type='EarlyStoppingHook', monitor='acc/top1', patience=1, min_delta=2.0)],
    )
    runner.train()
    assert runner.epoch < 9


def test_ema_follows_u_and_d(tmp_path):
    runner = build_runner(tmp_path, custom_hooks=[dict(type='EMAHook', momentum=0.5)])
    runner.train()
    ema = next(hook for hook in runner.hooks if hasattr(hook, 'ema_model')).ema_model.module
    live = dict(runner.model.named_parameters())
    for name in ('neck.layers.0.neurons.0.score', 'backbone.conv.weight'):
        assert 0 < (dict(ema.named_parameters())[name] - live[name]).abs().max() < 2


def test_wrapper_is_mmengine_s_kind():
    from mmengine.optim import OptimWrapper

    assert issubclass(UDLOptimWrapper, OptimWrapper)
    assert json.dumps(build_wrapper(build_recognizer()).get_lr())


def test_memory_of_the_steps_is_logged_on_request():
    model = build_recognizer()
    logged = build_wrapper(model, udl=dict(log_memory=True)).train_step(model, make_batch(seed=1), make_batch(seed=2))
    assert all(logged[f'{step}_memory'] > 1 for step in ('simulated', 'meta', 'actual'))
    logged = build_wrapper(model).train_step(model, make_batch(seed=1), make_batch(seed=2))
    assert not [key for key in logged if 'memory' in key]
