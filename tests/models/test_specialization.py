"""METHOD 1.5: a neuron that no sample activated does not change, whatever the optimizer."""

from contextlib import nullcontext

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.optim import OptimWrapper
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing

import mmdsts  # noqa: F401
from mmdsts.compat import end_process_group
from mmdsts.models import DSTSLayer, DSTSNeck, SpecializedNeuron

OPTIMIZERS = {
    'sgd': lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.1),
    'adamw': lambda params: torch.optim.AdamW(params, lr=0.1, weight_decay=0.1),
    'rmsprop': lambda params: torch.optim.RMSprop(params, lr=0.1, momentum=0.9, weight_decay=0.1),
}


def _operators(neck):
    return {
        (j, i): torch.cat([neuron.spatial.flatten(), neuron.temporal.flatten(), neuron.gate]).detach().clone()
        for j, layer in enumerate(neck.layers)
        for i, neuron in enumerate(layer.neurons)
    }


def _used(loss_aux):
    return {(int(key[7]), int(key[-1])) for key, share in loss_aux.items() if key.startswith('share') and share > 0}


@pytest.mark.parametrize('name', OPTIMIZERS)
@pytest.mark.parametrize('accumulate', [1, 2])
@pytest.mark.parametrize('set_to_none', [True, False])
def test_idle_neurons_are_bit_identical_after_a_step(name, accumulate, set_to_none):
    torch.manual_seed(0)
    neck = MODELS.build(dict(type='DSTSNeck', in_channels=6, num_layers=2, num_neurons=4, zero_init=False))
    wrapper = OptimWrapper(
        OPTIMIZERS[name](neck.parameters()), accumulative_counts=accumulate, clip_grad=dict(max_norm=1.0)
    )
    idle_seen = moved_seen = 0
    for _ in range(12):
        before = _operators(neck)
        used = set()
        for _ in range(accumulate):
            out, loss_aux = neck(torch.randn(2, 6, 3, 4, 4))
            used |= _used(loss_aux)
            wrapper.update_params(out.square().mean(), zero_kwargs=dict(set_to_none=set_to_none))
        for key, value in _operators(neck).items():
            if key in used:
                # By what any of the accumulated passes gave it.
                assert not torch.equal(value, before[key]), key
                moved_seen += 1
            else:
                assert torch.equal(value, before[key]), key
                # The optimizer has momentum for it by now: nothing of it may leak.
                idle_seen += 1
    assert idle_seen > 20 and moved_seen > 20


@pytest.mark.parametrize('order', ['zero first', 'zero before backward', 'zero last'])
def test_idle_neurons_rest_in_a_plain_loop(order):
    torch.manual_seed(0)
    neck = DSTSNeck(6, num_layers=2, num_neurons=4, zero_init=False)
    optimizer = OPTIMIZERS['adamw'](neck.parameters())
    idle_seen = 0
    for _ in range(8):
        before = _operators(neck)
        if order == 'zero first':
            optimizer.zero_grad(set_to_none=False)
        out, loss_aux = neck(torch.randn(2, 6, 3, 4, 4))
        if order == 'zero before backward':
            optimizer.zero_grad(set_to_none=False)
        out.square().mean().backward()
        optimizer.step()
        if order == 'zero last':
            optimizer.zero_grad(set_to_none=False)
        idle = _operators(neck).keys() - _used(loss_aux)
        assert all(torch.equal(_operators(neck)[key], before[key]) for key in idle)
        idle_seen += len(idle)
    assert idle_seen > 20


def test_active_neurons_behind_a_convolution_of_zeros_decay():
    """Their gradients are zero throughout, and they are not idle."""
    torch.manual_seed(0)
    neck = DSTSNeck(6, num_layers=2, num_neurons=4, hidden_channels=5)
    optimizer = torch.optim.AdamW(neck.parameters(), lr=0.1, weight_decay=0.1)
    for set_to_none in (True, False):
        before = _operators(neck)
        out, loss_aux = neck(torch.randn(2, 6, 3, 4, 4))
        out.square().mean().backward()
        assert not any(p.grad.any() for name, p in neck.named_parameters() if 'neurons' in name and p.grad is not None)
        optimizer.step()
        optimizer.zero_grad(set_to_none=set_to_none)
        torch.nn.init.zeros_(neck.expand.weight)  # it has learned something
        for key, value in _operators(neck).items():
            torch.testing.assert_close(value, before[key] * (0.99 if key in _used(loss_aux) else 1))


def test_gradients_that_are_only_asked_for_activate_nobody():
    """As UDL's first two steps ask, of other batches than the one that is trained on."""
    torch.manual_seed(0)
    neck = DSTSNeck(6, num_layers=1, num_neurons=4, zero_init=False)
    optimizer = OPTIMIZERS['adamw'](neck.parameters())
    idle_seen = 0
    for _ in range(8):
        before = _operators(neck)
        asked = neck(torch.randn(8, 6, 3, 4, 4))[0].square().mean()
        torch.autograd.grad(asked, list(neck.parameters()), allow_unused=True)
        out, loss_aux = neck(torch.randn(2, 6, 3, 4, 4))
        out.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        for key in _operators(neck).keys() - _used(loss_aux):
            assert torch.equal(_operators(neck)[key], before[key])
            idle_seen += 1
    assert idle_seen > 10


def test_no_optimizer_is_watched():
    """A step of another model's optimizer is none of the neck's business."""
    from torch.optim import optimizer

    assert not optimizer._global_optimizer_pre_hooks and not optimizer._global_optimizer_post_hooks


# What the two processes do in turn: keyword arguments of _moved_by_a_step.
CASES = {
    'one step': dict(),
    'search for unused': dict(find_unused_parameters=True),
    'gradients in buckets': dict(gradient_as_bucket_view=True),
    'second step after zeroing in place': dict(steps=2),
    'accumulated without synchronisation': dict(accumulate=2),
    'convolution of zeros behind': dict(hidden_channels=5, zero_init=True),
}


def _train_one_of_two(rank, store, queue):
    torch.distributed.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    moved = {name: _moved_by_a_step(rank, **case) for name, case in CASES.items()}
    found = dict(moved=moved, kept=_other_optimizer_steps(), static=_static_neck_trains(), refused=_reentrant_refused())
    end_process_group()
    queue.put((rank, found))


def _moved_by_a_step(rank, hidden_channels=None, zero_init=False, steps=1, accumulate=1, **kwargs):
    """Rank 0's samples activate neuron 0, rank 1's neuron 1; neuron 2 rests."""
    torch.manual_seed(0)
    neck = DSTSNeck(
        4,
        hidden_channels=hidden_channels,
        num_layers=1,
        num_neurons=3,
        pulse='mean',
        temperature=1e-3,
        zero_init=zero_init,
    )
    x = torch.rand(4, 4, 2, 3, 3)
    parallel = torch.nn.parallel.DistributedDataParallel(neck, **kwargs)
    # The scores differ between the ranks on purpose, so they are set after rank 0's parameters went to both.
    with torch.no_grad():
        for parameter in neck.reduce.parameters():
            parameter.fill_(0.1)
        for i, neuron in enumerate(neck.layers[0].neurons):
            neuron.score.fill_(100.0 * (i == rank) - 100.0 * (i == 2))
    optimizer = torch.optim.AdamW(
        [p for name, p in neck.named_parameters() if 'score' not in name], lr=0.1, weight_decay=0.1
    )
    if steps == 2:
        # Neuron 2 has gradients, and the optimizer momentum for it.
        for parameter in neck.layers[0].neurons[2].parameters():
            parameter.grad = torch.zeros_like(parameter)
        for neuron in neck.layers[0].neurons:
            torch.nn.init.normal_(neuron.gate)
    for step in range(steps):
        before = _operators(neck)
        for i in range(accumulate):
            with parallel.no_sync() if i + 1 < accumulate else nullcontext():
                parallel(x)[0].square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
    return [not torch.equal(value, before[key]) for key, value in sorted(_operators(neck).items())]


def _other_optimizer_steps():
    """Gradients of a neck after a step of an optimizer that trains something else: how many are left of how many."""
    neck, other = DSTSNeck(4, num_layers=1, num_neurons=3), torch.nn.Linear(4, 4)
    for parameter in (*neck.parameters(), *other.parameters()):
        parameter.grad = torch.zeros_like(parameter)
    torch.optim.SGD(other.parameters(), lr=0.1).step()
    return sum(p.grad is not None for p in neck.parameters()), len(list(neck.parameters()))


def _static_neck_trains():
    """Gradients of a neck of one neuron after two steps: how many are there of how many."""
    neck = DSTSNeck(4, num_layers=2, num_neurons=1)
    parallel = torch.nn.parallel.DistributedDataParallel(neck)
    for _ in range(2):
        parallel(torch.rand(2, 4, 2, 3, 3))[0].square().mean().backward()
    return sum(p.grad is not None for p in neck.parameters()), len(list(neck.parameters()))


def _reentrant_refused():
    neck = DSTSNeck(4, hidden_channels=4, num_layers=1, num_neurons=3)
    turn_on_activation_checkpointing(neck, ['layers.0'])
    parallel = torch.nn.parallel.DistributedDataParallel(neck)
    try:
        parallel(torch.rand(2, 4, 2, 3, 3))[0].mean().backward()
    except RuntimeError as error:
        return str(error)


def test_neurons_that_rest_in_every_process_are_bit_identical(tmp_path):
    context = torch.multiprocessing.get_context('spawn')
    queue = context.Queue()
    processes = [context.Process(target=_train_one_of_two, args=(rank, tmp_path / 'store', queue)) for rank in range(2)]
    for process in processes:
        process.start()
    results = dict(queue.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    for found in results.values():
        assert found['moved'] == {name: [True, True, False] for name in CASES}
        for left, held in (found['kept'], found['static']):
            assert left == held
        assert 'Leave the neck out of activation_checkpointing' in found['refused']


@pytest.mark.new_neurons
def test_neurons_start_alike_and_become_different_by_what_they_learn_from():
    torch.manual_seed(0)
    layer = DSTSLayer(6, 3)
    first = layer.neurons[0]
    for neuron in layer.neurons[1:]:
        for name in ('spatial', 'temporal', 'gate'):
            assert torch.equal(getattr(neuron, name), getattr(first, name))
        assert not torch.equal(neuron.score, first.score)
    x = torch.randn(24, 6, 2, 3, 3)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    out, routing = layer(x)
    assert len(routing.index.unique()) > 1
    (out * torch.randn_like(out)).sum().backward()
    # The choice makes no difference yet: the straight-through gradient of all pulses is zero.
    assert all(neuron.score.grad.abs().max() < 1e-5 for neuron in layer.neurons)
    optimizer.step()
    used = routing.index.unique().tolist()
    assert not torch.equal(layer.neurons[used[0]].spatial, layer.neurons[used[1]].spatial)


def test_outputs_of_a_scoring_kernel_start_alike():
    kernel = SpecializedNeuron(64).score
    assert torch.equal(kernel, kernel[:1].expand_as(kernel))
    assert abs(kernel[0].std().item() - 1 / 8) < 0.03
