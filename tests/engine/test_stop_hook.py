"""A run that is asked to end, or loses a data worker, goes on after its last iteration."""

import multiprocessing
import os
import signal
import sys

import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch.utils.data import DataLoader, Dataset

from mmdsts.engine.checkpoint_files import read_checkpoint
from mmdsts.engine.hooks.stop_hook import save_after_failure
from mmdsts.engine.partial_epoch import PartialEpoch

from .runs import loader
from .test_checkpoint_hook import durable

BATCHES = 5


@HOOKS.register_module(force=True)
class Trace(Hook):
    """Note what each iteration was trained on, and do something in one of them."""

    priority = 'VERY_HIGH'

    def __init__(self, seen, at=None, act=None, where='after_train_iter'):
        self.seen, self.at, self.act, self.where = seen, at, act, where

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        batch, heldout = data_batch if isinstance(data_batch, tuple) else (data_batch, None)
        self.seen.append(
            (
                runner.iter,
                [sample.metainfo['index'] for sample in batch['data_samples']],
                runner.optim_wrapper.get_lr()['lr'][0],
            )
        )
        self._act('before_train_iter', runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._act('after_train_iter', runner)

    def before_val_epoch(self, runner):
        self._act('before_val_epoch', runner)

    def _act(self, where, runner):
        if where == self.where and runner.iter == self.at:
            self.at = None
            self.act()


def ask(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def traced(work_dir, seen, at=None, act=ask, where='after_train_iter', kind='udl epoch', **options):
    """Two epochs of five batches; every iteration has its own learning rate."""
    plain, by_epoch = kind.startswith('plain'), kind.endswith('epoch')
    options.setdefault('train_dataloader', loader(size=4 * BATCHES, augment=False))
    schedule = dict(type='OneCycleLR', eta_max=0.1, total_steps=2 * BATCHES, by_epoch=False)
    if not by_epoch:
        options.update(iters=2 * BATCHES, train_cfg=dict(val_interval=BATCHES))
    runner = durable(
        work_dir,
        epochs=2,
        by_epoch=by_epoch,
        plain=plain,
        param_scheduler=[schedule],
        checkpoint=dict(interval=1 if by_epoch else BATCHES, max_keep_ckpts=-1),
        **options,
    )
    runner.register_hook(Trace(seen, at, act, where))
    return runner


@pytest.fixture(autouse=True)
def _handlers():
    """Whatever a run leaves, the tests' own Ctrl-C stays what it was (torch sets its SIGCHLD once in a process)."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope='module')
def whole_run(tmp_path_factory):
    """What a run that is not asked to end is trained on, by kind."""
    runs = {}

    def whole(kind):
        if kind not in runs:
            runs[kind] = []
            traced(tmp_path_factory.mktemp('whole'), runs[kind], kind=kind).train()
            assert len(runs[kind]) == 2 * BATCHES
        return runs[kind]

    return whole


@pytest.mark.parametrize(
    ('kind', 'number', 'at'),
    [
        ('udl epoch', signal.SIGTERM, 0),
        ('udl epoch', signal.SIGINT, 7),
        ('udl epoch', signal.SIGTERM, 8),
        ('udl epoch', signal.SIGTERM, 4),
        ('plain epoch', signal.SIGTERM, 2),
        ('plain epoch', signal.SIGTERM, 4),
        ('udl iter', signal.SIGTERM, 2),
        ('udl iter', signal.SIGTERM, 8),
        ('plain iter', signal.SIGINT, 2),
    ],
)
def test_asked_to_end_it_saves_and_goes_on_with_the_next_batch(tmp_path, whole_run, kind, number, at):
    """No batch is trained on twice, none is left out, and the schedule ends where it should."""
    whole, parts = whole_run(kind), []
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(SystemExit) as end:
        traced(tmp_path / 'parts', parts, at, lambda: ask(number), kind=kind).train()
    assert end.value.code == 128 + number
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert len(parts) == at + 1
    path = tmp_path / 'parts' / 'interrupted.pth'
    assert read_checkpoint(path)['meta']['iter'] == at + 1
    assert (tmp_path / 'parts' / 'last_checkpoint').read_text() == str(path)
    log = ''.join(file.read_text() for file in (tmp_path / 'parts').glob('*/*.log'))
    assert f'Ended by {signal.Signals(number).name}. Training is saved up to iteration {at + 1} in {path}' in log
    resumed = traced(tmp_path / 'parts', parts, kind=kind, resume=True)
    resumed.train()
    assert parts == whole
    assert resumed.iter == 2 * BATCHES
    assert not path.exists()  # a regular checkpoint has followed


def test_in_a_validation_it_ends_at_once_where_training_is_saved(tmp_path):
    seen = []
    with pytest.raises(SystemExit):
        traced(tmp_path, seen, BATCHES, where='before_val_epoch').train()
    assert not (tmp_path / 'interrupted.pth').exists()
    assert (tmp_path / 'epoch_1.pth').exists()
    traced(tmp_path, seen, resume=True).train()
    assert [iteration for iteration, *_ in seen] == list(range(2 * BATCHES))


def test_accumulated_gradients_are_not_thrown_away(tmp_path):
    seen = []
    with pytest.raises(SystemExit):
        traced(tmp_path, seen, 0, kind='plain epoch', optim_wrapper=dict(accumulative_counts=3)).train()
    assert len(seen) == 3
    assert read_checkpoint(tmp_path / 'interrupted.pth')['meta']['iter'] == 3


def test_a_second_ctrl_c_ends_at_once(tmp_path, monkeypatch):
    def twice():
        ask(signal.SIGINT)
        ask(signal.SIGINT)  # what a launcher hands on counts once
        monkeypatch.setattr('mmdsts.engine.hooks.stop_hook.SAME_REQUEST', -1.0)
        ask(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        traced(tmp_path, [], 1, twice).train()
    assert not (tmp_path / 'interrupted.pth').exists()


class Waiting(Dataset):
    """Asks the run to end while the third batch is being fetched."""

    metainfo = {}

    def __init__(self, inner, act):
        self.inner, self.act, self.count = inner, act, 0

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        self.count += 1
        if self.count == 9:
            self.act()
        return self.inner[index]


def dataset_that(act):
    from mmengine.dataset import pseudo_collate

    from .runs import ToyClips

    data = Waiting(ToyClips(4 * BATCHES, augment=False), act)
    return DataLoader(data, batch_size=4, sampler=DefaultSampler(data, shuffle=True, seed=3), collate_fn=pseudo_collate)


def test_waiting_for_data_it_ends_without_waiting_on(tmp_path):
    seen = []
    with pytest.raises(SystemExit):
        traced(tmp_path, seen, kind='plain epoch', train_dataloader=dataset_that(ask)).train()
    assert len(seen) == 2
    meta = read_checkpoint(tmp_path / 'interrupted.pth')['meta']
    assert (meta['epoch'], meta['iter'], meta['batches_done']) == (0, 2, 2)


def test_an_error_of_the_data_loses_no_iteration(tmp_path):
    def fail():
        raise OSError('clip.mp4 cannot be decoded')

    runner = traced(tmp_path, [], kind='plain epoch', train_dataloader=dataset_that(fail))
    with pytest.raises(OSError, match=r'clip\.mp4'):
        runner.train()
    assert f'up to iteration 2 in {tmp_path}/interrupted.pth' in save_after_failure(runner)
    assert read_checkpoint(tmp_path / 'interrupted.pth')['meta']['iter'] == 2
    inside = traced(tmp_path / 'inside', [], 3, fail, kind='plain epoch')
    with pytest.raises(OSError, match=r'clip\.mp4'):
        inside.train()
    assert save_after_failure(inside) is None  # in the middle of an iteration nothing can be saved


def test_after_an_error_signals_mean_what_they_meant_before(tmp_path):
    """In a notebook the process goes on after it, and Ctrl-C is to end what runs then."""

    def fail():
        raise OSError('clip.mp4 cannot be decoded')

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
    runner = traced(tmp_path, [], 3, fail, kind='plain epoch')
    with pytest.raises(OSError, match=r'clip\.mp4'):
        runner.train()
    with pytest.raises(KeyboardInterrupt):
        ask(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def kill_worker(others):
    worker = min(set(multiprocessing.active_children()) - others, key=lambda child: child.pid)
    os.kill(worker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # it is gone, and torch can still see of what


def lose_worker(work_dir, kind, kill, **options):
    """Lose a worker in the third iteration, and say what was trained and saved when the error came up."""
    seen, others = [], set(multiprocessing.active_children())
    runner = traced(
        work_dir,
        seen,
        2,
        lambda: kill(others),
        kind=kind,
        train_dataloader=loader(size=4 * BATCHES, num_workers=1, augment=False, **options),
    )
    with pytest.raises(RuntimeError) as error:
        runner.train()
    saved_before = (work_dir / 'interrupted.pth').exists()
    save_after_failure(runner)
    done = len(seen)
    assert read_checkpoint(work_dir / 'interrupted.pth')['meta']['iter'] == done
    traced(work_dir, seen, kind=kind, resume=True).train()
    assert [iteration for iteration, *_ in seen] == list(range(2 * BATCHES))
    return done, saved_before, str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['udl epoch', 'plain epoch'])
def test_a_killed_data_worker_loses_no_iteration(tmp_path, kind):
    """In the middle of an iteration the error waits until the iteration is done."""

    def kill(others):
        hit = []
        torch_handler = signal.getsignal(signal.SIGCHLD)
        signal.signal(signal.SIGCHLD, lambda *args: hit.append(args))
        kill_worker(others)
        torch_handler(signal.SIGCHLD, sys._getframe())
        signal.signal(signal.SIGCHLD, torch_handler)

    done, saved_before, error = lose_worker(tmp_path, kind, kill)
    assert (done, saved_before) == (3, True)
    assert 'is killed by signal: Killed' in error


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['udl epoch', 'plain epoch'])
def test_a_killed_data_worker_that_the_signal_does_not_tell_of_loses_no_iteration(tmp_path, kind):
    """The loader finds out when it has waited for the next batch; batches fetched in advance are trained on."""

    def kill(others):
        handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        kill_worker(others)
        signal.signal(signal.SIGCHLD, handler)

    done, saved_before, error = lose_worker(tmp_path, kind, kill, timeout=2)
    assert 3 <= done < 2 * BATCHES
    assert not saved_before
    assert 'exited unexpectedly' in error


# -- the rest of an epoch ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize('drop_last', [False, True])
@pytest.mark.parametrize('done', [0, 1, 3, 4])
def test_partial_epoch_is_the_rest_of_the_whole(drop_last, done):
    data = torch.arange(14)
    loader = DataLoader(data, batch_size=4, drop_last=drop_last, sampler=DefaultSampler(data, shuffle=True, seed=1))
    whole = [batch.tolist() for batch in loader]
    for keep_first, expected in ((False, whole[done:]), (True, whole[:1] + whole[max(done, 1) :])):
        partial = PartialEpoch(loader, done, keep_first)
        assert [batch.tolist() for batch in loader] == expected
        assert len(loader) == len(whole)
        partial.end()
    assert [batch.tolist() for batch in loader] == whole


def test_a_batch_sampler_that_draws_from_none_is_refused():
    loader = DataLoader(torch.arange(4), batch_sampler=[[0, 1], [2, 3]])
    with pytest.raises(TypeError, match='list has no sampler and batch_size of its own'):
        PartialEpoch(loader, 1)
