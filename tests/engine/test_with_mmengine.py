"""UDL with what people use of MMEngine: accumulation, clipping, AMP, EMA, schedules, resuming."""
import copy
import json

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmdsts.engine import UDLOptimWrapper

from .literal_udl import is_upstream
from .runs import build_runner, loader, read_log
from .test_optim_wrapper import INNER_LR, LR, UPSTREAM_LR, build_wrapper
from .toy_recognizer import build_recognizer, changed, make_batch, state_of


def upstream_state(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if is_upstream(n)}


# Accumulation and clipping
# -----------------------------------------------------------------------------------------


def test_accumulation_moves_u_at_the_start_and_d_at_the_end_of_a_window():
    model = build_recognizer()
    wrapper = build_wrapper(model, accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 6)
    for i in range(6):
        before = state_of(model)
        logged = wrapper.train_step(model, make_batch(seed=i), make_batch(seed=i + 1))
        moved = {key.split()[1] for key in changed(before, state_of(model)) if key.startswith('parameter')}
        assert any(map(is_upstream, moved)) == (i % 3 == 0)
        assert any(not is_upstream(name) for name in moved) == (i % 3 == 2)
        assert ('heldout_loss' in logged) == (i % 3 == 0)
        assert ('grad_norm' in logged) == (i % 3 == 2)
        assert wrapper.inner_count == i + 1


def test_accumulated_actual_step_equals_the_joined_batch():
    """Group norm and no noise: three micro-batches at one u' give the downstream step of their union."""
    setting = dict(norm='group', dropout=0.0, neck=dict(num_neurons=1, balance_weight=0.0))
    parts = [make_batch(size=2, seed=i) for i in range(3)]
    joined = dict(inputs=sum((p['inputs'] for p in parts), []),
                  data_samples=sum((p['data_samples'] for p in parts), []))
    models = []
    for batches, counts in ((parts, 3), ([joined], 1)):
        model = build_recognizer(**setting)
        model.neck.layers.eval()  # gates without noise
        wrapper = build_wrapper(model, accumulative_counts=counts, udl=dict(upstream_lr=0.0))
        wrapper.initialize_count_status(model, 0, len(batches))
        for batch in batches:
            wrapper.train_step(model, copy.deepcopy(batch), make_batch(size=2, seed=9))
        models.append(state_of(model))
    difference = max(float((v - models[1][k]).abs().max())
                     for k, v in models[0].items() if k.startswith('parameter'))
    print(f'accumulated - joined: {difference:.1e}')
    assert difference < 1e-15
    assert changed(state_of(build_recognizer(**setting)), models[0])


def test_clipping_is_separate_for_u_and_d():
    def moves(**kwargs):
        model = build_recognizer()
        wrapper = build_wrapper(model, **kwargs)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        logged = wrapper.train_step(model, make_batch(seed=1), make_batch(seed=2))
        steps = {n: p.detach() - before[n] for n, p in model.named_parameters()}
        u, d = (torch.stack([s.norm() for n, s in steps.items() if is_upstream(n) == kind]).norm().item()
                for kind in (True, False))
        return u / UPSTREAM_LR, d / LR, logged['upstream_grad_norm'], logged['grad_norm']

    torch.manual_seed(1)
    u, d, u_norm, d_norm = moves()
    assert u == pytest.approx(u_norm, rel=1e-5)
    assert d == pytest.approx(d_norm, rel=1e-5)
    torch.manual_seed(1)
    clipped_u = moves(udl=dict(upstream_clip_grad=dict(max_norm=u_norm / 4)))
    assert clipped_u[0] == pytest.approx(u_norm / 4, rel=1e-3)
    assert clipped_u[2] == pytest.approx(u_norm)  # logged before clipping
    torch.manual_seed(1)
    clipped_d = moves(clip_grad=dict(max_norm=d_norm / 4))
    assert clipped_d[0] == pytest.approx(u)
    assert clipped_d[1] == pytest.approx(d_norm / 4, rel=1e-3)


# Mixed precision
# ---------------------------------------------------------------------------------------------------


def quiet_recognizer():
    """In float32, with nothing to choose but gates, whose noise the seed fixes: rounding changes no decision."""
    model = build_recognizer(dtype=torch.float32, dropout=0.0, neck=dict(num_neurons=1, balance_weight=0.0))
    torch.manual_seed(1)
    return model


@pytest.mark.parametrize('method', ['exact', 'finite_difference'])
@pytest.mark.parametrize('scope', ['neck', 'full'])
def test_bfloat16_on_cpu(scope, method):
    """The forwards run in bfloat16; exact gradients stay close to those of float32."""
    gradients = []
    for amp in (None, dict(dtype='bfloat16')):
        model = quiet_recognizer()
        wrapper = build_wrapper(model, udl=dict(scope=scope, method=method), amp=amp)
        seen = []
        step_upstream = wrapper._step_upstream
        wrapper._step_upstream = lambda g, losses: (seen.append(g), step_upstream(g, losses))[1]
        dtypes = []
        handle = model.backbone.last.register_forward_hook(lambda m, i, out: dtypes.append(out.dtype))
        batch, heldout = (make_batch(seed=i, dtype=torch.float32) for i in (1, 2))
        wrapper.train_step(model, batch, heldout)
        handle.remove()
        assert set(dtypes) == {torch.bfloat16 if amp else torch.float32}
        assert all(p.dtype == torch.float32 for p in model.parameters())
        gradients.append(torch.cat([g.reshape(-1) for g in seen[0].values()]))
    cosine = torch.nn.functional.cosine_similarity(*gradients, dim=0).item()
    ratio = (gradients[1].norm() / gradients[0].norm()).item()
    print(f'{scope} {method}: bfloat16 to float32: cosine {cosine:.4f}, length {ratio:.4f}')
    if method == 'exact':  # differences drown in rounding; the wrapper warns
        assert cosine > 0.95
        assert 0.8 < ratio < 1.25


def test_bfloat16_trains(tmp_path):
    build_runner(tmp_path, optim_wrapper=dict(amp=dict(dtype='bfloat16'))).train()
    assert all(np.isfinite(line['loss']) for line in read_log(tmp_path))


@pytest.mark.parametrize(('amp', 'message'), [
    (dict(dtype='float8'), "expected dict\\(dtype='bfloat16'"),
    (dict(type='x'), "expected dict\\(dtype='bfloat16'")])
def test_amp_argument_is_checked(amp, message):
    with pytest.raises(ValueError, match=message):
        build_wrapper(build_recognizer(), amp=amp)


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without CUDA')
def test_float16_without_cuda_is_an_error():
    with pytest.raises(ValueError, match="'float16', which needs CUDA"):
        build_wrapper(build_recognizer(), amp=dict(dtype='float16'))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
@pytest.mark.parametrize('scope', ['neck', 'full'])
def test_mixed_precision_on_cuda(scope, dtype):
    gradients = []
    for amp in (None, dict(dtype=dtype)):
        model = quiet_recognizer().cuda()
        wrapper = build_wrapper(model, udl=dict(scope=scope), amp=amp)
        seen = []
        step_upstream = wrapper._step_upstream
        wrapper._step_upstream = lambda g, losses: (seen.append(g), step_upstream(g, losses))[1]
        batch, heldout = (make_batch(seed=i, dtype=torch.float32) for i in (1, 2))
        wrapper.train_step(model, batch, heldout)
        gradients.append(torch.cat([g.reshape(-1) for g in seen[0].values()]))
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.95
    assert 0.8 < gradients[1].norm() / gradients[0].norm() < 1.25


class FakeScaler:
    """What the wrapper asks of a ``GradScaler``, with CPU arithmetic."""

    def __init__(self, scale):
        self._scale, self.calls = scale, []

    def scale(self, loss):
        return loss * self._scale

    def unscale_(self, optimizer):
        self.calls.append('unscale_')
        for group in optimizer.param_groups:
            for p in group['params']:
                if p.grad is not None:
                    p.grad /= self._scale

    def step(self, optimizer, **kwargs):
        self.calls.append('step')
        optimizer.step(**kwargs)

    def update(self, new_scale=None):
        self.calls.append('update')


@pytest.mark.parametrize('method', ['exact', 'finite_difference'])
def test_loss_scaling_cancels_in_all_three_steps(method):
    """The path of float16, in float64: an inner gradient that is unscaled twice or never would show."""
    states, norms = [], []
    for scaler in (None, FakeScaler(2.0 ** 10)):
        model = build_recognizer()
        wrapper = build_wrapper(model, udl=dict(method=method))
        if scaler is not None:
            wrapper.loss_scaler = scaler
            wrapper.inner_scale.enabled, wrapper.inner_scale.value = True, 2.0 ** 12
        torch.manual_seed(1)
        logged = wrapper.train_step(model, make_batch(seed=1), make_batch(seed=2))
        states.append(state_of(model))
        norms.append((logged['grad_norm'], logged['upstream_grad_norm']))
    assert scaler.calls == ['unscale_', 'step', 'update']
    assert norms[0] == pytest.approx(norms[1])
    differences = [float((v - states[1][k]).abs().max()) for k, v in states[0].items() if v is not None]
    assert max(differences) < 1e-12


def test_inner_scale_backs_off_and_grows():
    wrapper = build_wrapper(build_recognizer())
    scale = type(wrapper.inner_scale)(True, growth_interval=3)
    assert not scale.accepts(False)
    assert scale.value == 2.0 ** 15
    assert all(scale.accepts(True) for _ in range(3))
    assert scale.value == 2.0 ** 16
    assert [scale.accepts(False) for _ in range(17)] == [False] * 16 + [True]


# Not finite
# --------------------------------------------------------------------------------------------------------


def poison(model, batch):
    batch['inputs'][0][:] = float('nan')
    return batch


def test_non_finite_raises_with_names():
    model = build_recognizer()
    names = "upstream_grad_norm = nan.*heldout_loss = nan.*udl.non_finite='skip'"
    with pytest.raises(FloatingPointError, match=names):
        build_wrapper(model).train_step(model, make_batch(seed=1), poison(model, make_batch(seed=2)))
    model = build_recognizer()
    before = upstream_state(model)
    with pytest.raises(FloatingPointError, match='loss = nan'):
        build_wrapper(model).train_step(model, poison(model, make_batch(seed=1)), make_batch(seed=2))
    assert all(torch.equal(before[n], p) for n, p in upstream_state(model).items())


def test_non_finite_skips_and_counts():
    model = build_recognizer(norm='group')
    wrapper = build_wrapper(model, udl=dict(non_finite='skip'))
    before = state_of(model)
    logged = wrapper.train_step(model, make_batch(seed=1), poison(model, make_batch(seed=2)))
    moved = {key.split()[1] for key in changed(before, state_of(model)) if key.startswith('parameter')}
    assert logged['skipped'] == 1
    assert moved
    assert not any(map(is_upstream, moved)), 'the held-out batch was bad: only u stays'
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    logged = wrapper.train_step(model, poison(model, make_batch(seed=1)), make_batch(seed=2))
    assert logged['skipped'] == 3, 'both updates depend on the training batch'
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())
    state = wrapper.state_dict()
    other = build_wrapper(model, udl=dict(non_finite='skip'))
    other.load_state_dict(state)
    assert other.skipped == 3


# Learning rates
# ----------------------------------------------------------------------------------------------------


def test_schedulers_of_their_own(tmp_path):
    runner = build_runner(tmp_path, epochs=3, optim_wrapper=dict(udl=dict(upstream_lr=0.8)), param_scheduler=[
        dict(type='MultiStepLR', milestones=[1], gamma=0.1, by_epoch=True),
        dict(type='GroupScheduler', group='upstream', policy='MultiStepLR', milestones=[2], gamma=0.5,
             by_epoch=True)])
    runner.train()
    log = read_log(tmp_path)
    assert [line['lr'] for line in log[::3]] == pytest.approx([0.05, 0.005, 0.005])
    assert [line['base_lr'] for line in log[::3]] == pytest.approx([0.05, 0.005, 0.005])
    assert [line['upstream_lr'] for line in log[::3]] == pytest.approx([0.8, 0.08, 0.04])


def test_inner_lr_follows_the_schedule_unless_it_is_given():
    model = build_recognizer()
    wrapper = build_wrapper(model, udl=dict(inner_lr=None))
    wrapper.bind(model)
    for group in wrapper.optimizer.param_groups:
        group['lr'] *= 0.5
    assert set(wrapper._inner_rates().values()) == {LR / 2}
    assert build_wrapper(model)._inner_rates() == INNER_LR


def test_auto_scale_lr_scales_both(tmp_path):
    runner = build_runner(tmp_path, epochs=1, optim_wrapper=dict(udl=dict(upstream_lr=0.8)),
                          auto_scale_lr=dict(enable=True, base_batch_size=16))
    runner.train()
    log = read_log(tmp_path)
    assert log[0]['lr'] == pytest.approx(0.05 / 4)
    assert log[0]['upstream_lr'] == pytest.approx(0.8 / 4)


# Hooks and resuming
# ------------------------------------------------------------------------------------------------


@HOOKS.register_module(force=True)
class StopAfter(Hook):
    """Interrupt a run as a time limit would."""

    priority = 'LOWEST'

    def __init__(self, iters):
        self.iters = iters

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iters and not runner.train_loop_by_epoch:
            raise KeyboardInterrupt

    def after_train_epoch(self, runner):
        if runner.iter == self.iters:
            raise KeyboardInterrupt


VALIDATION = dict(val_cfg=dict(), val_evaluator=dict(type='AccMetric'))


def full_state(runner):
    state = state_of(runner.model)
    for i, entry in runner.optim_wrapper.optimizer.state_dict()['state'].items():
        state.update({f'optimizer {i} {k}': v for k, v in entry.items() if isinstance(v, torch.Tensor)})
    for hook in runner.hooks:
        if hasattr(hook, 'ema_model'):
            state.update({f'ema {k}': v.clone() for k, v in hook.ema_model.state_dict().items()})
    return state


@pytest.mark.parametrize('heldout', [False, True], ids=['next', 'own_loader'])
@pytest.mark.parametrize(('by', 'workers'), [
    ('epochs', 0), pytest.param('epochs', 1, marks=pytest.mark.slow), ('iters', 0), ('iters_mid_pass', 0),
    pytest.param('iters_mid_pass', 1, marks=pytest.mark.slow)])
def test_resume_is_bit_identical(tmp_path, by, workers, heldout):
    """With validation in between, EMA, momentum, a schedule, and augmentation from the global generators."""
    by_epoch = by == 'epochs'
    stop = dict(epochs=6, iters=6, iters_mid_pass=4)[by]
    train_cfg = dict(val_interval=1 if by_epoch else 2)
    if heldout:
        train_cfg['heldout_dataloader'] = loader(size=8, num_workers=workers)
    settings = dict(
        train_dataloader=loader(num_workers=workers), train_cfg=train_cfg,
        val_dataloader=loader(4), **VALIDATION,
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=by_epoch, end=4 if by_epoch else 9)],
        custom_hooks=[dict(type='EMAHook'), dict(type='TemperatureHook', start=2.0, end=0.5)])
    settings.update(dict(epochs=4) if by_epoch else dict(iters=11))
    results, temperatures = [], []
    for interrupted in (False, True):
        work_dir = tmp_path / str(interrupted)
        if interrupted:
            stopping = [*settings['custom_hooks'], dict(type='StopAfter', iters=stop)]
            runner = build_runner(work_dir, **dict(settings, custom_hooks=stopping))
            runner.train_loop_by_epoch = by_epoch
            with pytest.raises(KeyboardInterrupt):
                runner.train()
            runner = build_runner(work_dir, **settings, resume=True)
        else:
            runner = build_runner(work_dir, **settings)
        runner.train()
        results.append(full_state(runner))
        temperatures.append(runner.model.neck.temperature)
    difference = max(float((v - results[1][k]).abs().max()) for k, v in results[0].items() if v is not None)
    print(f'{by} workers={workers} heldout={heldout}: resumed - never stopped: {difference}')
    assert not changed(*results)
    assert temperatures[0] == temperatures[1]
    assert runner.iter == (12 if by_epoch else 11)


def test_resume_without_random_state_warns(tmp_path, caplog):
    build_runner(tmp_path, epochs=1).train()
    path = tmp_path / 'epoch_1.pth'
    checkpoint = torch.load(path, weights_only=False)  # our own file
    assert len(checkpoint.pop('random_state')) == 1
    torch.save(checkpoint, path)
    runner = build_runner(tmp_path, epochs=2, resume=True, log_level='INFO')
    runner.train()
    log = '\n'.join(p.read_text() for p in tmp_path.glob('*/*.log'))
    assert 'The checkpoint holds no random state' in log


def test_checkpoint_loads_with_weights_only(tmp_path):
    build_runner(tmp_path, epochs=1).train()
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    assert checkpoint['optimizer']['udl'] == dict(skipped=0, inner_scale=dict(value=1.0, accepted=0))


def test_early_stopping(tmp_path):
    runner = build_runner(tmp_path, epochs=9, val_dataloader=loader(4), **VALIDATION, custom_hooks=[
        dict(type='EarlyStoppingHook', monitor='acc/top1', patience=1, min_delta=2.0)])
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


def test_one_cycle_for_each_kind(tmp_path):
    """A schedule that sets rates, changed every iteration, and resumed."""
    cycle = dict(total_steps=4, by_epoch=True, convert_to_iter_based=True)
    settings = dict(epochs=4, param_scheduler=[
        dict(type='GroupScheduler', group='downstream', policy='OneCycleLR', eta_max=0.1, **cycle),
        dict(type='GroupScheduler', group='upstream', policy='OneCycleLR', eta_max=0.4, **cycle)])
    results = []
    for stop in (None, 6):
        work_dir = tmp_path / str(stop)
        if stop is not None:
            runner = build_runner(work_dir, **settings, custom_hooks=[dict(type='StopAfter', iters=stop)])
            runner.train_loop_by_epoch = True
            with pytest.raises(KeyboardInterrupt):
                runner.train()
        runner = build_runner(work_dir, **settings, resume=stop is not None)
        runner.train()
        results.append(full_state(runner))
    assert not changed(*results)
    log = read_log(tmp_path / 'None')
    assert max(line['lr'] for line in log) > 0.09
    assert all(line['upstream_lr'] == pytest.approx(4 * line['lr']) for line in log)


def test_resuming_a_plain_run_is_an_error():
    model = build_recognizer()
    plain = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match='written without UDL.*load_from'):
        build_wrapper(model).load_state_dict(plain.state_dict())


def test_memory_of_the_steps_is_logged_on_request():
    model = build_recognizer()
    logged = build_wrapper(model, udl=dict(log_memory=True)).train_step(model, make_batch(seed=1), make_batch(seed=2))
    assert all(logged[f'{step}_memory'] > 1 for step in ('simulated', 'meta', 'actual'))
    logged = build_wrapper(model).train_step(model, make_batch(seed=1), make_batch(seed=2))
    assert not [key for key in logged if 'memory' in key]
