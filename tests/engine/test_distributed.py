"""Gloo processes against one process with the joined batch, and resuming with two processes."""

import socket

import pytest
import torch

from mmdsts.engine import split_parameters

from . import distributed_worker
from .test_optim_wrapper import build_wrapper
from .toy_recognizer import build_recognizer

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason='torch was built without distributed')


def free_port() -> int:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def spawn(tmp_path, runs, processes=2):
    """Results of ``runs`` from each process."""
    out = str(tmp_path / 'result')
    torch.multiprocessing.spawn(
        distributed_worker.process, (processes, free_port(), tmp_path, out, runs), nprocs=processes
    )
    return [torch.load(f'{out}.{rank}', weights_only=True) for rank in range(processes)]


def settings(**udl):
    """Nothing that mixes the samples of a batch: group norm, plain pulse, no balance loss."""
    return dict(
        epochs=2,
        model=dict(norm='group', dropout=0.0, neck=dict(pulse='mean', balance_weight=0.0)),
        optim_wrapper=dict(udl=dict(inner_lr=0.3, upstream_lr=0.5, **udl)),
    )


def difference(a, b):
    assert a.keys() == b.keys()
    return max(float((a[n].double() - b[n].double()).abs().max()) for n in a)


def check_sent(numbers, scope):
    """UDL sends twice what the simulated step moves, what decides, and two losses (docs/performance.md)."""
    model = build_recognizer(norm='group', neck=dict(pulse='mean'))
    upstream, downstream = split_parameters(model)
    moved = sum(p.numel() for n, p in downstream.items() if scope == 'full' or not n.startswith('backbone.'))
    assert sum(numbers) == 6 * (2 * moved + sum(p.numel() for p in upstream.values()) + 2)


CASES = {
    'neck exact': settings(),
    'full exact': settings(scope='full'),
    'neck finite difference': settings(method='finite_difference'),
    'neck exact direct': settings(direct_term=True),
    # MMEngine's default: idle neurons stay in the graph, so DDP does not wait for them in vain.
    'neck exact, no search for unused': dict(settings(), find_unused_parameters=False),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ('processes', 'names'), [(2, list(CASES)), (4, ['neck exact', 'full exact'])], ids=['two', 'four']
)
def test_processes_equal_the_joined_batch(tmp_path, monkeypatch, processes, names):
    import mmdsts.models.layer as layer

    monkeypatch.setattr(layer, 'straight_through_gumbel', layer.straight_through_gumbel)  # put back afterwards
    monkeypatch.setattr(layer, 'sample_gates', layer.sample_gates)
    results = spawn(tmp_path, [(f'many {name}', CASES[name], {}) for name in names], processes)
    for i, name in enumerate(names):
        many, *others = [result[i] for result in results]
        one = distributed_worker.train(tmp_path / f'one {name}', 1, CASES[name])
        assert len(one['gradients']) == len(many['gradients']) == 6
        assert max(float(g.abs().max()) for g in one['gradients'][0].values()) > 1e-4
        errors = (
            difference(one['gradients'][0], many['gradients'][0]),
            max(difference(a, b) for a, b in zip(one['gradients'], many['gradients'])),
            difference(one['state'], many['state']),
        )
        print(
            f'{name}: {processes} processes - one: first u gradient {errors[0]:.1e}, any {errors[1]:.1e}, '
            f'weights after 6 steps {errors[2]:.1e}'
        )
        for result in results:
            check_sent(result[i]['sent'], 'full' if 'full' in name else 'neck')
        assert one['sent'] == []
        assert max(errors) < (1e-9 if 'finite' in name else 1e-13)
        assert all(difference(many['state'], other['state']) == 0 for other in others)


@pytest.mark.slow
def test_two_processes_resume_bit_identically(tmp_path):
    """Each process gets back its own generators: augmentation and noise differ between them."""
    common = dict(settings(), epochs=3, randomness=dict(seed=3, diff_rank_seed=True))
    noisy = dict(noise=True, float64=False)
    both = spawn(
        tmp_path,
        [
            ('whole', common, noisy),
            ('parts', dict(common, stop_after=3), noisy),
            ('parts', dict(common, resume=True), noisy),
        ],
    )
    for whole, part, resumed in both:
        assert len(part['gradients']) == 3
        assert len(resumed['gradients']) == 6
        print('resumed - never stopped:', difference(whole['state'], resumed['state']))
        assert difference(whole['state'], resumed['state']) == 0


def test_sync_batchnorm_needs_finite_differences(monkeypatch):
    import mmdsts.engine.optim_wrapper as optim_wrapper

    monkeypatch.setattr(optim_wrapper, 'get_world_size', lambda: 2)
    model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(build_recognizer())
    with pytest.raises(ValueError, match="'neck.layers.0.spatial_norm' is a SyncBatchNorm.*udl.method='finite_diff"):
        build_wrapper(model).bind(model)
    build_wrapper(model, udl=dict(method='finite_difference')).bind(model)
    model = build_recognizer()
    model.backbone = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model.backbone)
    build_wrapper(model).bind(model)  # the backbone is differentiated once, in the actual step
    with pytest.raises(ValueError, match="'backbone.norm' is a SyncBatchNorm"):
        build_wrapper(model, udl=dict(scope='full')).bind(model)
