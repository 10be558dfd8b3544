"""Activation checkpointing repeats forward passes: gradients and statistics must not notice."""

import copy

import pytest
import torch
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from torch.utils.checkpoint import checkpoint

from mmdsts.models import DSTSNeck


def _neck(**kwargs):
    torch.manual_seed(0)
    # float64: the gradient of a bias before a norm is zero but for rounding.
    neck = DSTSNeck(8, num_layers=2, num_neurons=8, hidden_channels=6, zero_init=False, **kwargs).double()
    for _ in range(3):
        neck(_features(10))
    return neck


def _features(seed):
    return 1 + torch.rand(6, 8, 2, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _by_mmengine(modules):
    def switch(neck):
        turn_on_activation_checkpointing(neck, modules)
        return neck

    return switch


def _around(reentrant):
    return lambda neck: lambda x: checkpoint(neck, x, use_reentrant=reentrant)


def _layers_without_reentering(neck):
    for layer in neck.layers:
        layer.forward = lambda x, forward=layer.forward: checkpoint(forward, x, use_reentrant=False)
    return neck


SWITCHES = {
    'layers by MMEngine': _by_mmengine(['layers.0', 'layers.1']),
    'layers not reentrant': _layers_without_reentering,
    'neck reentrant': _around(True),
    'neck not reentrant': _around(False),
}


def _run(neck, function, seeds):
    """Gradients after one backward pass through a forward pass for each seed, and buffers after one more of these."""
    torch.manual_seed(1)
    sum(function(_features(seed).requires_grad_())[0].square().mean() for seed in seeds).backward()
    function(_features(5))
    return {name: p.grad for name, p in neck.named_parameters()}, dict(neck.named_buffers())


@pytest.mark.filterwarnings('ignore:.*use_reentrant')
@pytest.mark.parametrize('seeds', [[1], [1, 2]], ids=['one pass', 'two passes'])
@pytest.mark.parametrize('switch', SWITCHES.values(), ids=SWITCHES.keys())
def test_gradients_and_statistics_are_those_without(switch, seeds):
    neck = _neck()
    same = copy.deepcopy(neck)
    gradients, buffers = _run(neck, neck, seeds)
    found, found_buffers = _run(same, switch(same), seeds)
    assert any(g is None for g in gradients.values()) or len(seeds) == 2
    for name, gradient in gradients.items():
        assert (gradient is None) == (found[name] is None), name
        if gradient is not None:
            torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-9, msg=name)
    for name, buffer in buffers.items():
        assert torch.equal(found_buffers[name], buffer), name


def test_a_repetition_of_an_unknown_pass_is_refused():
    neck = _neck()
    function = _around(False)(neck)
    outs = [function(_features(seed).requires_grad_())[0] for seed in range(9)]
    with pytest.raises(RuntimeError, match='not among the last 8.*leave the neck out of activation_checkpointing'):
        sum(out.mean() for out in outs).backward()


@pytest.mark.filterwarnings('ignore:.*use_reentrant')
@pytest.mark.parametrize('switch', SWITCHES.values(), ids=SWITCHES.keys())
def test_a_balance_loss_is_exact_or_refused(switch):
    neck = _neck(balance_weight=0.5)
    same = copy.deepcopy(neck)

    def run(function):
        torch.manual_seed(1)
        out, loss_aux = function(_features(1).requires_grad_())
        (out.square().mean() + loss_aux['loss_balance']).backward()

    run(neck)
    if 'not reentrant' not in next(name for name, s in SWITCHES.items() if s is switch):
        with pytest.raises(RuntimeError, match='balance_weight > 0 under activation checkpointing'):
            run(switch(same))
        return
    run(switch(same))
    for a, b in zip(neck.parameters(), same.parameters()):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            torch.testing.assert_close(b.grad, a.grad, rtol=1e-6, atol=1e-9)
