"""Gradient accumulation and clipping: each acts on u and d in its own way (METHOD 2)."""

import copy

import pytest
import torch

from .literal_udl import is_upstream
from .test_optim_wrapper import LR, UPSTREAM_LR, build_wrapper
from .toy_recognizer import build_recognizer, changed, make_batch, state_of


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
    joined = dict(
        inputs=sum((p['inputs'] for p in parts), []), data_samples=sum((p['data_samples'] for p in parts), [])
    )
    models = []
    for batches, counts in ((parts, 3), ([joined], 1)):
        model = build_recognizer(**setting)
        model.neck.layers.eval()  # gates without noise
        wrapper = build_wrapper(model, accumulative_counts=counts, udl=dict(upstream_lr=0.0))
        wrapper.initialize_count_status(model, 0, len(batches))
        for batch in batches:
            wrapper.train_step(model, copy.deepcopy(batch), make_batch(size=2, seed=9))
        models.append(state_of(model))
    difference = max(float((v - models[1][k]).abs().max()) for k, v in models[0].items() if k.startswith('parameter'))
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
        u, d = (
            torch.stack([s.norm() for n, s in steps.items() if is_upstream(n) == kind]).norm().item()
            for kind in (True, False)
        )
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
