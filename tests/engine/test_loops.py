"""Pairs of batches, and whole runs by epochs and iterations."""

import pytest
import torch

from mmdsts.engine.heldout import endless, with_next

from .runs import ToyClips, build_runner, loader, read_log
from .toy_recognizer import changed, state_of


def indices(batch):
    return frozenset(sample.index for sample in batch['data_samples'])


def record_batches(runner):
    """Pairs of index sets that the wrapper is given, without training on them."""
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    seen = []

    def train_step(model, data, heldout):
        seen.append((indices(data), indices(heldout)))
        return {}

    runner.optim_wrapper.train_step = train_step
    return seen


def test_each_batch_is_paired_with_the_next():
    assert list(with_next('abcd')) == [('a', 'b'), ('b', 'c'), ('c', 'd'), ('d', 'a')]
    assert list(with_next([])) == []


def test_one_batch_an_epoch_is_an_error():
    with pytest.raises(ValueError, match='one batch an epoch.*train_dataloader.batch_size'):
        list(with_next('a'))


def test_empty_loader_is_an_error():
    empty = torch.utils.data.DataLoader(ToyClips(2), batch_size=4, drop_last=True)
    with pytest.raises(ValueError, match='gives no batch'):
        next(endless(empty))


@pytest.mark.parametrize('by', ['epochs', 'iters'])
def test_pairs_are_disjoint_and_cover_each_epoch(tmp_path, by):
    runner = build_runner(tmp_path, **({'epochs': 3} if by == 'epochs' else {'iters': 9}))
    runner.train_loop
    seen = record_batches(runner)
    runner.train()
    assert len(seen) == 9
    for epoch in (seen[:3], seen[3:6], seen[6:]):
        assert set().union(*(data for data, _ in epoch)) == set(range(12))
        assert all(not data & heldout for data, heldout in epoch)
        assert [heldout for _, heldout in epoch] == [epoch[1][0], epoch[2][0], epoch[0][0]]
    assert seen[:3] != seen[3:6], 'the sampler was not told the epoch'


@pytest.mark.parametrize('by', ['epochs', 'iters'])
def test_workers_are_started_once_an_epoch(tmp_path, by, monkeypatch):
    started = []
    iterate = torch.utils.data.DataLoader.__iter__
    monkeypatch.setattr(torch.utils.data.DataLoader, '__iter__', lambda self: started.append(self) or iterate(self))
    runner = build_runner(tmp_path, **({'epochs': 2} if by == 'epochs' else {'iters': 6}))
    runner.train_loop
    assert started == []
    record_batches(runner)
    runner.train()
    assert started == [runner.train_loop.dataloader] * 2


@pytest.mark.parametrize('by', ['epochs', 'iters'])
def test_compile_is_refused(tmp_path, by):
    runner = build_runner(tmp_path, cfg=dict(compile=True), **({} if by == 'epochs' else {'iters': 6}))
    with pytest.raises(ValueError, match='compile is True.*Set compile=False'):
        runner.train()


@pytest.mark.parametrize('by', ['epochs', 'iters'])
def test_heldout_loader_has_its_own_order_and_epochs(tmp_path, by):
    length = dict(max_epochs=3) if by == 'epochs' else dict(max_iters=9)
    runner = build_runner(
        tmp_path, **({} if by == 'epochs' else {'iters': 9}), train_cfg=dict(length, heldout_dataloader=loader(size=12))
    )
    runner.train_loop
    seen = record_batches(runner)
    runner.train()
    train, heldout = zip(*seen)
    assert train != heldout
    for i in (0, 3, 6):
        assert set().union(*heldout[i : i + 3]) == set(range(12))
    assert len({heldout[:3], heldout[3:6], heldout[6:]}) == 3


def test_infinite_sampler(tmp_path):
    runner = build_runner(tmp_path, iters=5, train_dataloader=loader(sampler='InfiniteSampler'))
    runner.train_loop
    seen = record_batches(runner)
    runner.train()
    assert [data for data, _ in seen[1:]] == [heldout for _, heldout in seen[:-1]]


@pytest.mark.parametrize('by', ['epochs', 'iters'])
def test_two_lines_of_a_config_are_enough(tmp_path, by):
    """No constructor is named; everything that the issue asks for is in the log."""
    runner = build_runner(tmp_path, **({} if by == 'epochs' else {'iters': 6}))
    before = state_of(runner.model)
    runner.train()
    moved = changed(before, state_of(runner.model))
    assert 'parameter neck.layers.0.neurons.0.score' in moved
    assert 'parameter backbone.conv.weight' in moved
    log = read_log(tmp_path)
    assert len(log) == 6
    for key in (
        'loss',
        'heldout_loss',
        'grad_norm',
        'upstream_grad_norm',
        'simulated_time',
        'meta_time',
        'actual_time',
        'lr',
        'upstream_lr',
        'skipped',
        'share/l0_n0',
    ):
        assert all(isinstance(line[key], (int, float)) for line in log), key


def test_plain_wrapper_in_the_loop_is_an_error(tmp_path):
    runner = build_runner(tmp_path, optim_wrapper=dict(type='OptimWrapper'))
    with pytest.raises(TypeError, match="optim_wrapper.type='UDLOptimWrapper', but it is 'OptimWrapper'"):
        runner.train()


def test_plain_loop_with_the_wrapper_is_an_error(tmp_path):
    runner = build_runner(tmp_path, train_cfg=dict(type='EpochBasedTrainLoop'))
    with pytest.raises(ValueError, match='UDLEpochBasedTrainLoop'):
        runner.train()
    runner = build_runner(
        tmp_path,
        train_cfg=dict(type='EpochBasedTrainLoop'),
        optim_wrapper=dict(constructor='UDLOptimWrapperConstructor'),
    )
    with pytest.raises(RuntimeError, match='UDLEpochBasedTrainLoop'):
        runner.train()


def test_one_batch_an_epoch_is_an_error_in_a_run(tmp_path):
    runner = build_runner(tmp_path, train_dataloader=loader(batch_size=12))
    with pytest.raises(ValueError, match='heldout_dataloader'):
        runner.train()
