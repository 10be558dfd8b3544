"""METHOD 1.5: a neuron that no sample activated does not change, whatever the optimizer."""

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.optim import OptimWrapper

import mmdsts  # noqa: F401
from mmdsts.compat import end_process_group

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


@pytest.mark.parametrize('name', OPTIMIZERS)
@pytest.mark.parametrize('accumulate', [1, 2])
def test_idle_neurons_are_bit_identical_after_a_step(name, accumulate):
    torch.manual_seed(0)
    neck = MODELS.build(dict(type='DSTSNeck', in_channels=6, num_layers=2, num_neurons=4, zero_init=False))
    wrapper = OptimWrapper(OPTIMIZERS[name](neck.parameters()), accumulative_counts=accumulate)
    idle_seen = moved_seen = 0
    for _ in range(12):
        before = _operators(neck)
        used = set()
        for _ in range(accumulate):
            out, loss_aux = neck(torch.randn(2, 6, 3, 4, 4))
            used |= {
                (int(key[7]), int(key[-1])) for key, share in loss_aux.items() if key.startswith('share') and share > 0
            }
            wrapper.update_params(out.square().mean())
        for key, value in _operators(neck).items():
            if key in used:
                moved_seen += not torch.equal(value, before[key])
            else:
                assert torch.equal(value, before[key]), key
                # The optimizer has momentum for it by now: nothing of it may leak.
                idle_seen += 1
    assert idle_seen > 20 and moved_seen > 20


def _train_one_of_two(rank, store, queue):
    torch.distributed.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    moved = _moved_by_a_step(rank)
    end_process_group()
    queue.put((rank, moved))


def _moved_by_a_step(rank):
    """Rank 0's samples activate neuron 0, rank 1's neuron 1; neuron 2 rests."""
    torch.manual_seed(0)
    neck = MODELS.build(
        dict(type='DSTSNeck', in_channels=4, num_layers=1, num_neurons=3, pulse='mean', temperature=1e-3,
             zero_init=False)
    )
    x = torch.rand(4, 4, 2, 3, 3)
    with torch.no_grad():
        for i, neuron in enumerate(neck.layers[0].neurons):
            neuron.score.fill_(100.0 * (i == rank) - 100.0 * (i == 2))
        # The scores differ between the ranks on purpose: no broadcast of those of rank 0.
        parallel = torch.nn.parallel.DistributedDataParallel(neck, init_sync=False)
    optimizer = torch.optim.AdamW(
        [p for name, p in neck.named_parameters() if 'score' not in name], lr=0.1, weight_decay=0.1
    )
    before = _operators(neck)
    parallel(x)[0].square().mean().backward()
    optimizer.step()
    return [not torch.equal(value, before[key]) for key, value in sorted(_operators(neck).items())]


def test_neurons_that_rest_in_every_process_are_bit_identical(tmp_path):
    context = torch.multiprocessing.get_context('spawn')
    queue = context.Queue()
    processes = [
        context.Process(target=_train_one_of_two, args=(rank, tmp_path / 'store', queue)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    moved = dict(queue.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    assert moved == {rank: [True, True, False] for rank in range(2)}
