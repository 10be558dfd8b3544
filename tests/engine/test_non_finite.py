"""A loss or gradient that is not finite: an error that names it, or a step that is left out."""

import pytest
import torch

from .literal_udl import is_upstream
from .test_optim_wrapper import build_wrapper
from .toy_recognizer import build_recognizer, changed, make_batch, state_of


def upstream_state(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if is_upstream(n)}


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
