"""A layer that collapses, one that cannot decide and a healthy one, in plain and UDL training."""

from __future__ import annotations

import inspect
import re

import pytest
import torch
from mmengine.utils import digit_version

from mmdsts.engine import RoutingWatchHook, UDLOptions
from mmdsts.engine.hooks import routing_watch_hook
from mmdsts.models import DSTSNeck

from .runs import build_runner, read_log
from .toy_recognizer import recognizer_config

PLAIN = dict(optim_wrapper=dict(type='OptimWrapper'), train_cfg=dict(type='EpochBasedTrainLoop'))
PLAIN_ITERS = dict(PLAIN, train_cfg=dict(type='IterBasedTrainLoop'))
LOOPS = [
    pytest.param({}, 'epochs', id='udl'),
    pytest.param({}, 'iters', id='udl_by_iterations'),
    pytest.param(PLAIN, 'epochs', id='plain'),
    pytest.param(PLAIN_ITERS, 'iters', id='plain_by_iterations'),
]


def watched(work_dir, length=12, by='epochs', pulse='sum', collapse=False, hook={}, neck={}, **changes):
    """A runner of ``length`` iterations, three an epoch, that has the hook."""
    model = recognizer_config(neck=dict(hidden_channels=None, num_layers=1, balance_weight=0, pulse=pulse, **neck))
    runner = build_runner(
        work_dir,
        **(dict(epochs=length // 3) if by == 'epochs' else dict(iters=length)),
        model=model,
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='CheckpointHook', interval=99, by_epoch=by == 'epochs'),
            routing_watch=dict(type='RoutingWatchHook', **{'window': 12, 'undecided': 0.5, **hook}),
        ),
        **changes,
    )
    if collapse:
        # A mean that all samples share, and a neuron that looks for it.
        with torch.no_grad():
            runner.model.backbone.last.bias.fill_(3.0)
            runner.model.neck.layers[0].neurons[1].score.fill_(2.0)
        runner.model.init_weights = lambda: None
    return runner


def warnings(work_dir):
    text = '\n'.join(path.read_text() for path in sorted(work_dir.glob('*/*.log')))
    return re.findall(r'DSTS layer .*', text)


@pytest.mark.parametrize(('changes', 'by'), LOOPS)
def test_a_collapsed_layer_is_named_once(tmp_path, changes, by):
    watched(tmp_path, 12, by, collapse=True, hook=dict(window=6), **changes).train()
    (warning,) = warnings(tmp_path)
    assert warning.startswith('DSTS layer 0 has collapsed: neuron 1 took 100% of the samples of the last 6 iterations')
    assert 'balance_weight=0.01' in warning


def test_a_router_has_half_of_the_training_before_it_is_judged(tmp_path, monkeypatch):
    """Pulses start below the noise, so that early on no layer decides."""
    judged = []
    monkeypatch.setattr(RoutingWatchHook, '_judge', lambda self, hub: judged.append(hub.get_info('iter') + 1))
    watched(tmp_path, 24, hook=dict(window=6)).train()
    assert judged == [12, 18, 24]


@pytest.mark.parametrize(('changes', 'by'), LOOPS)
def test_a_layer_that_does_not_decide_is_named_once(tmp_path, changes, by):
    watched(tmp_path, 18, by, pulse='mean', hook=dict(window=9), **changes).train()
    (warning,) = warnings(tmp_path)
    found = re.match(
        r'DSTS layer 0 does not decide: of the samples of the last 9 iterations (\d+)% .* chance among 3 '
        r'neurons gives 33%',
        warning,
    )
    logged = [line['agreement/l0'] for line in read_log(tmp_path)]
    assert int(found[1]) == round(100 * sum(logged[:9]) / 9)


@pytest.mark.parametrize(('changes', 'by'), LOOPS)
def test_a_healthy_run_is_silent(tmp_path, changes, by):
    # Pulses that the noise seldom turns over, of clips that no large step throws together.
    optim_wrapper = dict(changes.get('optim_wrapper', {}), optimizer=dict(type='SGD', lr=1e-4))
    runner = watched(tmp_path, 12, by, pulse='centered', **dict(changes, optim_wrapper=optim_wrapper))
    runner.model.neck.layers[0].pulse.register_forward_hook(lambda pulse, inputs, out: 20 * out)
    runner.train()
    log = read_log(tmp_path)
    assert sum(line['agreement/l0'] for line in log) / 12 > 0.8
    assert max(sum(line[f'share/l0_n{i}'] for line in log) / 12 for i in range(3)) < 0.8
    assert warnings(tmp_path) == []


@pytest.mark.parametrize('changes', [{}, PLAIN], ids=['udl', 'plain'])
def test_windows_and_warnings_survive_a_resume(tmp_path, changes):
    for length, count in ((6, 0), (12, 1), (24, 1)):
        watched(tmp_path, length, pulse='mean', resume=True, **changes).train()
        assert len(warnings(tmp_path)) == count


def test_a_router_may_take_its_time(tmp_path):
    for length, count in ((12, 1), (15, 0)):
        watched(tmp_path / str(length), length, pulse='mean', hook=dict(begin=0.9)).train()
        assert len(warnings(tmp_path / str(length))) == count


@pytest.mark.parametrize('changes', [{}, PLAIN], ids=['udl', 'plain'])
def test_one_neuron_and_no_neck_are_none_of_its_business(tmp_path, changes):
    watched(tmp_path, 9, hook=dict(window=3), neck=dict(num_neurons=1), **changes).train()
    assert warnings(tmp_path) == []
    log = read_log(tmp_path)
    assert len(log) == 9
    assert not [key for key in log[0] if re.match('share|agreement|entropy', key)]
    assert all(0 <= line['flipped/l0'] <= 1 for line in log)


def test_model_without_a_neck(tmp_path):
    build_runner(
        tmp_path,
        model=dict(recognizer_config(), neck=None),
        custom_hooks=[dict(type='RoutingWatchHook', window=3)],
        **PLAIN,
    ).train()
    assert read_log(tmp_path)
    assert not [key for key in read_log(tmp_path)[-1] if 'agreement' in key or 'upstream' in key]


@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.1'),
    reason='torch 2.0 calls no step hooks of optimizers once anything was compiled in the process',
)
def test_plain_training_logs_the_upstream_gradient_as_udl_does(tmp_path):
    runner = watched(tmp_path, 6, **PLAIN)
    norms = []

    def remember(optimizer, args, kwargs):
        squares = [
            p.grad.square().sum()
            for n, p in runner.model.named_parameters()
            if n.split('.')[-1] in ('score', 'gate', 'log_scale') and p.grad is not None
        ]
        norms.append(sum(squares).sqrt().item())

    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.optim_wrapper.optimizer.register_step_pre_hook(remember)
    runner.train()
    # MMEngine logs the mean of what went before.
    means = [sum(norms[: i + 1]) / (i + 1) for i in range(6)]
    assert [line['upstream_grad_norm'] for line in read_log(tmp_path)] == pytest.approx(means, rel=1e-4)
    assert len(runner.optim_wrapper.optimizer._optimizer_step_pre_hooks) == 1  # its own is gone


def test_what_it_advises_exists():
    neck = inspect.signature(DSTSNeck).parameters
    for message in (routing_watch_hook._COLLAPSED, routing_watch_hook._UNDECIDED):
        options = re.findall(r'model\.neck\.(\w+)', message)
        assert options
        assert set(options) <= set(neck)
        assert all(hasattr(UDLOptions, name) for name in re.findall(r'udl\.(\w+)', message))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(window=0), 'window is 0, expected a number'),
        (dict(begin=1), r'begin is 1, expected .*\[0, 1\)'),
        (dict(undecided=-0.1), 'undecided is -0.1'),
        (dict(collapsed=0), 'collapsed is 0'),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RoutingWatchHook(**arguments)
