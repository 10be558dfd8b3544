"""What each process of the tests of several processes runs."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmengine.registry import init_default_scope

from mmdsts.models import SpecializedNeuron

from ..neurons import start_differently


def without_noise() -> None:
    """Decisions of the neck as in training, straight-through gradients and all, but without noise.

    Noise is drawn per process, so that of two halves is not that of the joined batch.
    """
    import mmdsts.models.layer as layer

    def straight_through(hard, soft):
        return hard.to(soft.dtype) + (soft - soft.detach())

    def choose(pulse, temperature=1.0):
        return straight_through(F.one_hot(pulse.argmax(1), pulse.shape[1]), (pulse / temperature).softmax(1))

    def gate(g, soft_prob=0.0, noise=1.0):
        return straight_through(g > 0, (1.2 * torch.sigmoid(g) - 0.1).clamp(0, 1))

    layer.straight_through_gumbel, layer.sample_gates = choose, gate


def train(work_dir, world_size: int, settings: dict, noise: bool = False, float64: bool = True) -> dict:
    """Train the toy recognizer and return its state; the batch is split over the processes."""
    from .runs import build_runner, loader
    from .toy_recognizer import build_recognizer

    torch.set_num_threads(1)
    SpecializedNeuron.start_like = start_differently  # as conftest.py has it in the first process
    init_default_scope('mmaction')
    settings = dict(settings)
    stop_after = settings.pop('stop_after', None)
    find_unused = settings.pop('find_unused_parameters', True)
    if not noise:
        without_noise()
    model = build_recognizer(dtype=torch.float64 if float64 else torch.float32, **settings.pop('model'))
    if world_size > 1:
        wrapper = dict(type='MMDistributedDataParallel', find_unused_parameters=find_unused)
        settings.update(launcher='pytorch', cfg=dict(model_wrapper_cfg=wrapper))
    if stop_after is not None:
        settings['custom_hooks'] = [dict(type='StopAfter', iters=stop_after)]
    data = dict(train_dataloader=loader(batch_size=4 // world_size, augment=noise))
    runner = build_runner(work_dir, model=model, **data, **settings)
    runner.train_loop_by_epoch = True
    gradients, sent = [], []

    from mmdsts.engine import UDLOptimWrapper, process_mean

    reduce = process_mean.all_reduce
    process_mean.all_reduce = lambda flat, op: (sent.append(flat.numel()), reduce(flat, op=op))

    original = UDLOptimWrapper._step_upstream

    def spy(self, gradient, losses):
        gradients.append({n: g.clone() for n, g in gradient.items()})
        return original(self, gradient, losses)

    UDLOptimWrapper._step_upstream = spy
    try:
        runner.train()
    except KeyboardInterrupt:
        assert stop_after is not None
    finally:
        UDLOptimWrapper._step_upstream = original
        process_mean.all_reduce = reduce
    inner = getattr(runner.model, 'module', runner.model)
    return dict(state={n: v.detach().clone() for n, v in inner.state_dict().items()}, gradients=gradients, sent=sent)


def process(rank: int, world_size: int, port: int, work_dir, out: str, runs: list) -> None:
    """Entry point of ``torch.multiprocessing.spawn``."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world_size),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        OMP_NUM_THREADS='1',
    )
    import mmdsts  # noqa: F401  its repairs come before any other import of MMAction2
    from mmdsts.compat import end_process_group

    from .runs import StopAfter  # noqa: F401  registers it

    dist.init_process_group('gloo', rank=rank, world_size=world_size)
    try:
        results = [train(work_dir / name, world_size, settings, **options) for name, settings, options in runs]
        torch.save(results, f'{out}.{rank}')
    finally:
        end_process_group()
