"""The three steps on a real recognizer, against a literal reference, and what must not move."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

import mmdsts.engine.model_loss as model_loss
import mmdsts.engine.optim_wrapper as optim_wrapper
from mmdsts.engine.backbone import BackboneTape

from .literal_udl import LiteralUDL, is_upstream
from .toy_recognizer import build_recognizer, changed, make_batch, state_of

LR, INNER_LR, UPSTREAM_LR = 0.05, 0.3, 2.0


def build_wrapper(model, optimizer=None, **kwargs):
    udl = dict(inner_lr=INNER_LR, upstream_lr=UPSTREAM_LR)
    udl.update(kwargs.pop('udl', {}))
    return build_optim_wrapper(
        model,
        dict(
            type='UDLOptimWrapper',
            constructor='UDLOptimWrapperConstructor',
            udl=udl,
            optimizer=optimizer or dict(type='SGD', lr=LR),
            **kwargs,
        ),
    )


def reference_error(model, wrapper, **options):
    """Largest difference of one iteration to the literal one, over parameters and buffers, relative to how far the
    parameters moved where that is more than 1: the second derivative of a sure router is large.
    """
    batch, heldout = make_batch(seed=1), make_batch(seed=2)
    torch.manual_seed(5)
    reference = LiteralUDL(model, batch, heldout, LR, INNER_LR, UPSTREAM_LR, **options)
    moved = max(float((UPSTREAM_LR * g).abs().max()) for g in reference.upstream_gradient.values())
    assert moved > 1e-4, 'the reference moves nothing: a test against it would prove nothing'
    logged = wrapper.train_step(model, batch, heldout)
    errors = [(p - reference.parameters[n]).abs().max() for n, p in model.named_parameters() if p.requires_grad]
    errors += [(b - reference.buffers[n]).abs().max().double() for n, b in model.named_buffers()]
    errors.append(torch.tensor(abs(logged['heldout_loss'] - reference.heldout_loss)))
    errors.append((logged['loss'] - reference.loss).abs())
    assert torch.equal(torch.get_rng_state(), reference.rng_state), 'not the documented random stream'
    return max(float(e.detach()) for e in errors) / max(moved, 1.0)


@pytest.mark.parametrize('direct_term', [False, True], ids=['', 'direct'])
@pytest.mark.parametrize('norm', ['batch', 'group'])
@pytest.mark.parametrize('scope', ['neck', 'full'])
def test_iteration_equals_the_literal_one(scope, norm, direct_term):
    model = build_recognizer(norm=norm)
    wrapper = build_wrapper(model, udl=dict(scope=scope, direct_term=direct_term))
    error = reference_error(model, wrapper, scope=scope, direct_term=direct_term)
    print(f'{scope} {norm} direct={direct_term}: {error:.1e}')
    assert wrapper._forward_mode
    assert error < 1e-12


def test_backbone_without_forward_mode_is_differentiated_twice():
    class Cube(torch.autograd.Function):
        """An operator without forward-mode derivative."""

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, grad):
            return 3 * ctx.saved_tensors[0] ** 2 * grad

    model = build_recognizer()
    model.backbone.last = nn.Sequential(model.backbone.last, Apply(Cube))
    wrapper = build_wrapper(model, udl=dict(scope='full'))
    assert reference_error(model, wrapper, scope='full') < 1e-12
    assert not wrapper._forward_mode
    assert reference_error(model, wrapper, scope='full') < 1e-12


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function.apply(x)


@pytest.mark.parametrize('scope', ['neck', 'full'])
def test_finite_difference_is_near_the_literal_iteration(scope):
    """Where no decision depends on what the simulated step moves; ``hypergradient`` says why."""
    frozen = scope == 'full'  # the first layer reads the backbone
    model = build_recognizer(neck=dict(num_layers=1, hidden_channels=None))
    model.backbone.requires_grad_(not frozen)
    wrapper = build_wrapper(model, udl=dict(scope=scope, method='finite_difference', fd_epsilon=1e-4))
    error = reference_error(model, wrapper, scope='neck')
    print(f'{scope} finite difference: {error:.1e}')
    assert error < 1e-7


def test_full_scope_without_a_shared_backbone():
    model = build_recognizer()
    wrapper = build_wrapper(model, udl=dict(scope='full', backbone=None))
    assert reference_error(model, wrapper, scope='full') < 1e-13


@pytest.mark.parametrize(
    'udl',
    [dict(), dict(backbone=None), dict(method='finite_difference', fd_epsilon=1e-4)],
    ids=['exact', 'not shared', 'fd'],
)
def test_parameters_frozen_in_train_stay_out_of_the_simulated_step(udl):
    """MMAction2's ``frozen_stages`` and ``partial_bn`` act in ``train()``, when the wrapper has seen the model."""
    model = build_recognizer(neck=dict(num_layers=1, hidden_channels=None))
    wrapper = build_wrapper(model, udl=dict(scope='full', **udl))
    wrapper.initialize_count_status(model, 0, 2)
    # By finite differences all of it: there no decision may depend on what the simulated step moves.
    frozen = model.backbone if 'method' in udl else model.backbone.conv
    frozen.requires_grad_(False)
    before = [p.clone() for p in frozen.parameters()]
    assert reference_error(model, wrapper, scope='full') < (1e-7 if 'method' in udl else 1e-12)
    assert all(torch.equal(a, b) for a, b in zip(before, frozen.parameters()))
    # And back: from here on they are trained.
    frozen.requires_grad_(True)
    if 'method' not in udl:
        assert reference_error(model, wrapper, scope='full') < 1e-12
        assert not torch.equal(before[0], next(frozen.parameters()))


def test_upstream_parameters_can_be_frozen_and_trained_later():
    model = build_recognizer()
    scores = [p for name, p in model.named_parameters() if name.endswith('score')]
    for score in scores:
        score.requires_grad_(False)
    wrapper = build_wrapper(model)
    assert reference_error(model, wrapper) < 1e-12
    before = [score.clone() for score in scores]
    for score in scores:
        score.requires_grad_(True)
    assert reference_error(model, wrapper) < 1e-12
    assert any(not torch.equal(a, b) for a, b in zip(before, scores))
    model.neck.requires_grad_(False)
    with pytest.raises(ValueError, match='leaves no trainable upstream parameters in Recognizer3D'):
        wrapper.train_step(model, make_batch(seed=1), make_batch(seed=2))


@pytest.mark.parametrize(('scope', 'forwards'), [('neck', [True, False]), ('full', [True, True, False])])
def test_backbone_runs_once_a_batch(scope, forwards):
    """With gradient on the training batch, then on the held-out one; ``full`` adds a forward-mode pass."""
    model = build_recognizer()
    build_wrapper(model, udl=dict(scope=scope)).train_step(model, make_batch(seed=1), make_batch(seed=2))
    assert model.backbone.forwards == forwards


@pytest.mark.parametrize('method', ['exact', 'finite_difference'])
@pytest.mark.parametrize('scope', ['neck', 'full'])
class TestNothingElseMoves:
    def test_before_the_actual_step_only_u_moves(self, scope, method, monkeypatch):
        model = build_recognizer()
        wrapper = build_wrapper(model, udl=dict(scope=scope, method=method))
        monkeypatch.setattr(wrapper, '_move_downstream', lambda *a: {})
        before, random, count = state_of(model), torch.get_rng_state(), wrapper.inner_count
        wrapper.train_step(model, make_batch(seed=1), make_batch(seed=2))
        moved = changed(before, state_of(model))
        assert moved
        assert all(key.startswith('parameter') and is_upstream(key) for key in moved), moved
        assert torch.equal(random, torch.get_rng_state())
        assert wrapper.inner_count == count
        assert all(p.grad is None for p in model.parameters())

    def test_the_actual_step_moves_everything_but_u(self, scope, method, monkeypatch):
        model = build_recognizer()
        wrapper = build_wrapper(model, udl=dict(scope=scope, method=method))
        monkeypatch.setattr(wrapper, '_step_upstream', lambda *a: 0.0)
        before = state_of(model)
        wrapper.train_step(model, make_batch(seed=1), make_batch(seed=2))
        moved = changed(before, state_of(model))
        assert not [key for key in moved if is_upstream(key)]
        assert 'parameter backbone.conv.weight' in moved
        assert 'buffer backbone.norm.running_mean' in moved
        assert model.backbone.norm.num_batches_tracked == 1
        assert wrapper.inner_count == 1
        assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    'optimizer',
    [dict(type='SGD', lr=LR, momentum=0.9, weight_decay=0.1), dict(type='AdamW', lr=LR, weight_decay=0.1)],
    ids=['SGD', 'AdamW'],
)
def test_operators_of_neurons_at_rest_do_not_move(optimizer):
    """METHOD 1.5, whatever the optimizer remembers."""
    model = build_recognizer(neck=dict(num_neurons=8, num_layers=1))
    wrapper = build_wrapper(model, optimizer)
    rested = 0
    for i in range(4):
        before = state_of(model)
        logged = wrapper.train_step(model, make_batch(size=2, seed=i), make_batch(size=2, seed=i + 1))
        moved = changed(before, state_of(model))
        for n in range(8):
            active = logged[f'share/l0_n{n}'] > 0
            rested += not active
            for operator in ('spatial', 'temporal'):
                assert (f'parameter neck.layers.0.neurons.{n}.{operator}' in moved) == bool(active)
    assert rested > 8


def test_upstream_without_gradient_rests():
    """Weight decay alone does not move an upstream parameter that neither batch has anything to say about."""
    model = build_recognizer(neck=dict(num_neurons=8, num_layers=1))
    wrapper = build_wrapper(model, dict(type='AdamW', lr=LR, weight_decay=0.1))
    batch, heldout = make_batch(size=2, seed=1), make_batch(size=2, seed=2)
    torch.manual_seed(5)
    reference = LiteralUDL(model, batch, heldout, LR, INNER_LR)
    silent = {n for n, g in reference.upstream_gradient.items() if not g.any()}
    assert 0 < len(silent) < len(reference.upstream_gradient)
    before = state_of(model)
    wrapper.train_step(model, batch, heldout)
    moved = changed(before, state_of(model))
    assert {n for n in reference.upstream_gradient if f'parameter {n}' not in moved} == silent


def test_same_seed_same_run():
    results = []
    for _ in range(2):
        model = build_recognizer()
        wrapper = build_wrapper(model)
        torch.manual_seed(3)
        for i in range(3):
            wrapper.train_step(model, make_batch(seed=i), make_batch(seed=i + 1))
        results.append(state_of(model))
    assert not changed(*results)


class TestPlantedErrors:
    """Each known mistake, planted into the engine, makes the comparison with the literal iteration fail."""

    def error(self, **udl):
        model = build_recognizer()
        return reference_error(
            model,
            build_wrapper(model, udl=udl),
            scope=udl.get('scope', 'neck'),
            direct_term=udl.get('direct_term', True),
        )

    def plant_meta(self, monkeypatch, change):
        """Replace what the meta step computes."""
        meta_gradient = optim_wrapper.meta_gradient
        monkeypatch.setattr(optim_wrapper, 'meta_gradient', lambda *a, **k: change(meta_gradient, *a, **k))

    def test_no_planted_error(self):
        assert self.error() < 1e-13

    def test_wrong_sign(self, monkeypatch):
        def flipped(original, *args, **kwargs):
            meta = original(*args, **kwargs)
            return meta._replace(gradient={n: -g for n, g in meta.gradient.items()})

        self.plant_meta(monkeypatch, flipped)
        assert self.error() > 1e-4

    def test_wrong_sign_of_the_simulated_step(self, monkeypatch):
        simulated_step = optim_wrapper.simulated_step
        monkeypatch.setattr(optim_wrapper, 'simulated_step', lambda t, u, d, lr, **k: simulated_step(t, u, d, -lr, **k))
        assert self.error() > 1e-4

    def test_stale_buffer(self, monkeypatch):
        """Forwards of the first two steps that write into the live batch-norm statistics."""

        def live_buffers(model, data, *tensors):
            state = {n: t for group in tensors for n, t in group.items()}
            losses = model_loss.functional_call(model, state, (), dict(data, mode='loss'))
            return model.parse_losses(losses)[0]

        monkeypatch.setattr(model_loss, 'functional_loss', live_buffers)
        assert self.error() > 1e-4

    def test_gradient_through_u_hat(self, monkeypatch):
        def through(original, *args, **kwargs):
            return original(*args, **dict(kwargs, direct_term=True))

        assert self.error(direct_term=False) < 1e-13
        self.plant_meta(monkeypatch, through)
        assert self.error(direct_term=False) > 1e-4

    def test_same_batch_twice(self, monkeypatch):
        original = optim_wrapper.UDLOptimWrapper._move_upstream
        monkeypatch.setattr(
            optim_wrapper.UDLOptimWrapper,
            '_move_upstream',
            lambda self, model, batch, heldout, *a: original(self, model, batch, make_batch(seed=1), *a),
        )
        assert self.error() > 1e-4

    def test_scaled_twice(self, monkeypatch):
        def scaled(original, *args, **kwargs):
            meta = original(*args, **kwargs)
            return meta._replace(gradient={n: 2.0 * g for n, g in meta.gradient.items()})

        self.plant_meta(monkeypatch, scaled)
        assert self.error() > 1e-4

    def test_scaled_twice_by_the_inner_rate(self, monkeypatch):
        monkeypatch.setattr(optim_wrapper.UDLOptimWrapper, '_inner_rates', lambda self: INNER_LR * INNER_LR)
        assert self.error() > 1e-4

    def test_actual_step_with_the_old_u(self, monkeypatch):
        original = optim_wrapper.UDLOptimWrapper._move_downstream

        def late(self, model, *args):
            new = {n: p.detach().clone() for n, p in self._upstream.items()}
            with torch.no_grad():
                [p.copy_(old[n]) for n, p in self._upstream.items()]
            result = original(self, model, *args)
            with torch.no_grad():
                [p.copy_(new[n]) for n, p in self._upstream.items()]
            return result

        model = build_recognizer()
        old = {n: p.detach().clone() for n, p in model.named_parameters()}
        monkeypatch.setattr(optim_wrapper.UDLOptimWrapper, '_move_downstream', late)
        assert reference_error(model, build_wrapper(model)) > 1e-6

    def test_moved_random_stream(self, monkeypatch):
        original = optim_wrapper.UDLOptimWrapper._move_downstream

        def later(self, *args):
            torch.rand(3)  # not as many as a dropout draws
            return original(self, *args)

        monkeypatch.setattr(optim_wrapper.UDLOptimWrapper, '_move_downstream', later)
        monkeypatch.setattr(BackboneTape, 'replay', _replay_without_random_state)
        with pytest.raises(AssertionError, match='documented random stream'):
            self.error()


def _replay_without_random_state(tape, detach):
    tape._calls = [call._replace(random_state_after=_Keep()) for call in tape._calls]
    return _REPLAY(tape, detach)


_REPLAY = BackboneTape.replay


class _Keep:
    def restore(self):
        pass
