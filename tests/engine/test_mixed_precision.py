"""UDL in bfloat16 and float16: what is scaled, and how far gradients stay those of single precision."""

import numpy as np
import pytest
import torch

from .runs import build_runner, read_log
from .test_optim_wrapper import build_wrapper
from .toy_recognizer import build_recognizer, make_batch, state_of


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


@pytest.mark.parametrize(
    ('amp', 'message'),
    [(dict(dtype='float8'), "expected dict\\(dtype='bfloat16'"), (dict(type='x'), "expected dict\\(dtype='bfloat16'")],
)
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
    for scaler in (None, FakeScaler(2.0**10)):
        model = build_recognizer()
        wrapper = build_wrapper(model, udl=dict(method=method))
        if scaler is not None:
            wrapper.loss_scaler = scaler
            wrapper.inner_scale.enabled, wrapper.inner_scale.value = True, 2.0**12
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
    assert scale.value == 2.0**15
    assert all(scale.accepts(True) for _ in range(3))
    assert scale.value == 2.0**16
    assert [scale.accepts(False) for _ in range(17)] == [False] * 16 + [True]
