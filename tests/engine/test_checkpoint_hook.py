"""Training killed at any moment goes on from its newest good checkpoint, as if nothing had happened."""

import os
import shutil

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from mmdsts.engine import atomic_backend, checkpoint_files
from mmdsts.engine.checkpoint_files import CheckpointError, list_checkpoints, read_checkpoint

from .runs import build_runner, loader

# The unbroken training is shared by tests.
pytestmark = pytest.mark.new_neurons

EPOCHS = 4


@METRICS.register_module(force=True)
class RisingScore(BaseMetric):
    """Each validation is better than the one before, so that each saves a best checkpoint."""

    default_prefix = 'test'

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=RisingScore.runner.epoch if RisingScore.runner.epoch else RisingScore.runner.iter)


def durable(work_dir, epochs=EPOCHS, by_epoch=True, plain=False, **changes):
    """A runner with our hook: three iterations an epoch, validation and a best checkpoint after each epoch."""
    hook = dict(
        type='DurableCheckpointHook',
        interval=1 if by_epoch else 3,
        by_epoch=by_epoch,
        max_keep_ckpts=2,
        save_best='test/score',
        rule='greater',
    )
    hook.update(changes.pop('checkpoint', {}))
    if not by_epoch:
        changes = dict(dict(iters=3 * epochs, train_cfg=dict(val_interval=3)), **changes)
    if plain:
        loop = 'EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop'
        changes['optim_wrapper'] = dict(changes.get('optim_wrapper', {}), type='OptimWrapper')
        changes['train_cfg'] = dict(changes.get('train_cfg', {}), type=loop)
    changes.setdefault('val_dataloader', loader(size=4))
    hooks = dict(checkpoint=hook, stop=dict(type='StopHook'), finite=dict(type='FiniteHook'))
    hooks.update(changes.pop('default_hooks', {}))
    runner = build_runner(
        work_dir, epochs=epochs, val_cfg=dict(), val_evaluator=dict(type='RisingScore'), default_hooks=hooks, **changes
    )
    RisingScore.runner = runner
    return runner


def weights(runner):
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    """Weights after four epochs without a break, by kind of loop."""
    results = {}
    for by_epoch in (True, False):
        runner = durable(tmp_path_factory.mktemp('unbroken'), by_epoch=by_epoch)
        runner.train()
        results[by_epoch] = weights(runner)
    return results


@pytest.fixture(scope='module')
def three_epochs(tmp_path_factory):
    """Work dirs after three of four epochs, by kind of loop."""
    folders = {}
    for by_epoch in (True, False):
        folders[by_epoch] = tmp_path_factory.mktemp('three')
        durable(folders[by_epoch], epochs=3, by_epoch=by_epoch).train()
    return folders


NEWEST = {True: 'epoch_3.pth', False: 'iter_9.pth'}
STATES = {
    'empty note': lambda folder, newest: (folder / 'last_checkpoint').write_text(''),
    'note of a file that is not there': lambda folder, newest: (folder / 'last_checkpoint').write_text(
        str(folder / 'epoch_7.pth')
    ),
    'no note': lambda folder, newest: (folder / 'last_checkpoint').unlink(),
    'newest cut short': lambda folder, newest: newest.write_bytes(newest.read_bytes()[:20000]),
    'newest empty': lambda folder, newest: newest.write_bytes(b''),
    'newest damaged': lambda folder, newest: newest.write_bytes(
        newest.read_bytes().replace(
            next(iter(read_checkpoint(newest)['state_dict'].values())).numpy().tobytes(), bytes(648)
        )
    ),
    'another half written': lambda folder, newest: (folder / f'{newest.name}.partial').write_bytes(b'PK'),
}


@pytest.mark.parametrize('by_epoch', [True, False], ids=['epoch', 'iter'])
@pytest.mark.parametrize('state', STATES)
def test_what_a_kill_leaves_behind_is_gone_on_from(three_epochs, unbroken, tmp_path, state, by_epoch):
    shutil.copytree(three_epochs[by_epoch], tmp_path, dirs_exist_ok=True)
    newest = tmp_path / NEWEST[by_epoch]
    STATES[state](tmp_path, newest)
    broken = state.startswith('newest')
    runner = durable(tmp_path, by_epoch=by_epoch, resume=True, log_level='INFO')
    runner.train()
    name = newest.name.replace('3', '2').replace('9', '6') if broken else newest.name
    log = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    assert f'The newest checkpoint that can be read is {tmp_path / name}' in log
    assert (f'Passed over {newest}: ' in log) == broken
    assert same(weights(runner), unbroken[by_epoch])
    assert not list(tmp_path.glob('*.partial'))
    assert (tmp_path / 'last_checkpoint').read_text() == str(
        tmp_path / NEWEST[by_epoch].replace('3', '4').replace('9', '12')
    )


@pytest.mark.slow
@pytest.mark.parametrize('by_epoch', [True, False], ids=['epoch', 'iter'])
def test_killed_at_each_step_of_saving(unbroken, tmp_path, monkeypatch, by_epoch):
    """Before each flush, rename and removal of a run: all that is there is good, and training goes on from it."""
    moments = []

    def watched(real):
        def step(*args):
            moments.append(tmp_path / f'moment {len(moments)}')
            shutil.copytree(tmp_path / 'run', moments[-1], ignore=shutil.ignore_patterns('2*'))  # not the logs
            return real(*args)

        return step

    with monkeypatch.context() as patch:
        for owner, name in (
            (checkpoint_files.os, 'fsync'),
            (checkpoint_files.os, 'replace'),
            (atomic_backend.LocalBackend, 'remove'),
        ):
            patch.setattr(owner, name, watched(getattr(owner, name)))
        durable(tmp_path / 'run', by_epoch=by_epoch).train()

    newest = []
    for folder in moments:
        paths = list_checkpoints([folder])
        iterations = {path: read_checkpoint(path)['meta']['iter'] for path in paths}  # each one can be read
        newest.append(max((i for path, i in iterations.items() if 'best' not in path), default=0))
        if newest[-1] > 3:  # once there is a best checkpoint, there always is
            assert any('best' in path for path in paths)
    print(f'newest good checkpoint at each of {len(moments)} moments: {newest}')
    assert len(moments) > 40
    assert newest == sorted(newest)
    assert set(newest) == {0, 3, 6, 9, 12}
    # Around the third checkpoint: from the second one, from the third before and after its validation.
    third = newest.index(9)
    for moment in (third - 2, third, third + 8):
        runner = durable(moments[moment], by_epoch=by_epoch, resume=True)
        runner.train()
        assert same(weights(runner), unbroken[by_epoch])
        names = {path.name for path in moments[moment].glob('*.pth') if 'best' not in path.name}
        assert names == ({'epoch_3.pth', 'epoch_4.pth'} if by_epoch else {'iter_12.pth', 'iter_9.pth'})


# -- kept -------------------------------------------------------------------------------------------------------------


def test_a_full_disk_ends_the_run_and_keeps_what_was_saved(tmp_path):
    if not os.path.exists('/dev/full'):
        pytest.skip('needs a device that is always full')
    os.makedirs(tmp_path, exist_ok=True)
    runner = durable(tmp_path)

    def fill(runner):
        if runner.epoch == 1:
            os.symlink('/dev/full', tmp_path / 'epoch_2.pth.partial')

    runner.hooks[0].before_train_epoch = fill
    with pytest.raises(CheckpointError, match=r'epoch_2\.pth cannot be written: No space left on device\. .*--resume'):
        runner.train()
    assert sorted(path.name for path in tmp_path.glob('*.pth*')) == ['best_test_score_epoch_1.pth', 'epoch_1.pth']
    resumed = durable(tmp_path, resume=True)
    resumed.train()
    assert resumed.epoch == EPOCHS


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    runner = durable(tmp_path, epochs=2)

    def spoil(runner):
        if runner.epoch == 1:
            runner.model.backbone.conv.weight.data[0] = float('nan')

    runner.hooks[0].after_train_epoch = spoil
    with pytest.raises(CheckpointError, match=r'epoch_2\.pth is not written: 1 tensors .* backbone\.conv\.weight'):
        runner.train()
    assert [path.name for path in tmp_path.glob('epoch*')] == ['epoch_1.pth']


def test_a_copied_work_dir_leaves_the_original_alone(three_epochs, tmp_path):
    before = {path.name for path in three_epochs[True].glob('*.pth')}
    shutil.copytree(three_epochs[True], tmp_path, dirs_exist_ok=True)
    durable(tmp_path, resume=True).train()
    assert {path.name for path in three_epochs[True].glob('*.pth')} == before
    assert {path.name for path in tmp_path.glob('*.pth')} == {
        'epoch_3.pth',
        'epoch_4.pth',
        'best_test_score_epoch_4.pth',
    }


# -- refused ----------------------------------------------------------------------------------------------------------


def test_never_from_scratch_where_a_checkpoint_was(three_epochs, tmp_path):
    shutil.copytree(three_epochs[True], tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob('epoch_*.pth'):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r'epoch_[23]\.pth: cut short.*epoch_[23]\.pth: cut short.*leave out'):
        durable(tmp_path, resume=True).train()
    runner = durable(tmp_path, epochs=1, log_level='WARNING')  # told to
    runner.train()
    assert 'holds 3 checkpoint(s) of an earlier run' in ''.join(p.read_text() for p in tmp_path.glob('*/*.log'))


def test_nothing_to_resume_begins_with_the_weights_asked_for(three_epochs, tmp_path):
    weights_file = str(three_epochs[True] / 'epoch_3.pth')
    runner = durable(tmp_path, epochs=1, resume=True, checkpoint=dict(load_from=weights_file))
    runner.hooks[0].before_train = lambda runner: seen.update(iter=runner.iter, **weights(runner))
    seen = {}
    runner.train()
    assert seen.pop('iter') == 0
    assert same(seen, read_checkpoint(weights_file)['state_dict'])


@pytest.mark.parametrize(
    ('plain', 'message'),
    [
        (True, r'was saved by a run with UDL \(UDLOptimWrapper\) .*, but this run is one without UDL'),
        (False, r'was saved by a run without UDL .*, but this run is one with UDL'),
    ],
    ids=['udl by plain', 'plain by udl'],
)
def test_resuming_by_another_optimizer_is_refused(three_epochs, tmp_path, plain, message):
    folder = three_epochs[True]
    if not plain:
        folder = tmp_path / 'plain'
        durable(folder, epochs=1, plain=True).train()
    with pytest.raises(CheckpointError, match=message):
        durable(folder, plain=plain, resume=True).train()


def test_resuming_another_model_is_refused(three_epochs):
    from .toy_recognizer import recognizer_config

    with pytest.raises(CheckpointError, match='does not fit the model: .*missing are neck.layers.2.*version that'):
        durable(three_epochs[True], resume=True, model=recognizer_config(neck=dict(num_layers=3))).train()


def test_resuming_weights_only_is_refused(three_epochs, tmp_path):
    torch.save(read_checkpoint(three_epochs[True] / 'epoch_3.pth')['state_dict'], tmp_path / 'weights.pth')
    with pytest.raises(CheckpointError, match=r'weights\.pth holds weights only.*set load_from='):
        durable(tmp_path, resume=True, load_from=str(tmp_path / 'weights.pth')).train()
    (tmp_path / 'weights.pth').write_text('<html>')
    with pytest.raises(CheckpointError, match=r'weights\.pth: a web page'):
        durable(tmp_path, load_from=str(tmp_path / 'weights.pth')).train()
