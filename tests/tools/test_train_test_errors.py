"""What tools/train.py and tools/test.py say of what the user can mend, and what they leave alone."""

from __future__ import annotations

import re
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from mmdsts import cli
from mmdsts.start import explained_start

from .tiny_run import TOOLS, forget_runs, run

# Trainings here are those of a user, also the one that several tests share.
pytestmark = pytest.mark.new_neurons


def test_a_checkpoint_of_another_model_is_refused_unless_it_is_wanted(monkeypatch, capfd, config, trained, tmp_path):
    """As the backbone alone: a score of a neck that was never trained says nothing."""
    weights = torch.load(trained / 'epoch_2.pth')['state_dict']
    torch.save({name: value for name, value in weights.items() if not name.startswith('neck')}, tmp_path / 'few.pth')
    torch.save(dict(weights, extra=torch.ones(1)), tmp_path / 'more.pth')
    torch.save(dict(weights, **{'cls_head.fc_cls.bias': torch.ones(3)}), tmp_path / 'wide.pth')
    for name, difference in (
        ('few.pth', r'missing are neck\.layers\.0.* and \d+ more$'),
        ('more.pth', 'left over are extra$'),
        ('wide.pth', r'of another shape are cls_head\.fc_cls\.bias \(3,\) instead of \(2,\)$'),
    ):
        args = [config, tmp_path / name, '--work-dir', tmp_path]
        assert run(monkeypatch, TOOLS / 'test.py', *args) == 2
        error = capfd.readouterr().err.strip().splitlines()[-1]
        assert re.match(rf'test\.py: error: .*{name} does not fit the model: of its parameters, {difference}', error)
        assert run(monkeypatch, TOOLS / 'test.py', *args, '--no-strict') == 0
        assert 'acc/top1' in ''.join(capfd.readouterr())


TRAIN, TEST = 'train.py', 'test.py'
UDL = 'optim_wrapper.type=UDLOptimWrapper', 'train_cfg.type=UDLEpochBasedTrainLoop'


@pytest.mark.parametrize(
    ('tool', 'args', 'message'),
    [
        (TRAIN, ['nowhere.py'], 'config nowhere.py: no such file'),
        (TRAIN, ['{broken}'], 'broken.py: '),
        (TRAIN, ['{config}', '--resume', 'gone.pth'], '--resume gone.pth: no such file'),
        (TRAIN, ['{config}', '--cfg-options', 'lr'], "'lr' is not of the form KEY=VALUE"),
        (TRAIN, ['{config}', '--cfg-options', 'model.neck.num_neurons=0'], 'num_neurons'),
        (TRAIN, ['{config}', '--cfg-options', 'model.neck.type=DSTSNek'], 'DSTSNek is not in the'),
        (
            TRAIN,
            ['{config}', '--cfg-options', 'train_dataloader.dataset.data_root=some/toygym'],
            'make_toygym.py --out some/toygym',
        ),
        (TRAIN, ['{config}', '--cfg-options', 'train_dataloader.dataset.ann_file=gone.txt'], 'gone.txt does not exist'),
        (
            TRAIN,
            ['{config}', '--cfg-options', 'train_cfg.heldout_dataloader.dataset.ann_file=gone.txt'],
            'train_cfg.heldout_dataloader.dataset.ann_file: gone.txt does not exist',
        ),
        (
            TRAIN,
            ['{config}', '--cfg-options', 'train_dataloader.dataset.type=FineGymDataset'],
            "list.txt, line 1: found '0.mp4 0', expected VIDEO_E_START_END",
        ),
        (
            TRAIN,
            ['{config}', '--cfg-options', 'model.cls_head.num_classes=1'],
            'has labels up to 1, but model.cls_head.num_classes is 1; set it to 2',
        ),
        (
            TRAIN,
            ['{config}', '--cfg-options', 'model.cls_head.in_channels=16'],
            'model.cls_head.fc_cls (Linear(in_features=16, out_features=2, bias=True)) fails on what it is given',
        ),
        (
            TRAIN,
            ['{config}', '--cfg-options', 'model.neck.in_channels=16'],
            'model.neck fails on what it is given: DSTSNeck was built with in_channels=16',
        ),
        (
            TRAIN,
            ['{config}', '--cfg-options', 'train_dataloader.batch_size=9', 'train_dataloader.drop_last=True'],
            'train_dataloader gives no batch: its data set has 8 clips, batch_size is 9 and drop_last is set',
        ),
        (
            TRAIN,
            ['{config}', '--cfg-options', *UDL, 'train_dataloader.batch_size=8'],
            'The training loader gives one batch an epoch, but UDL needs two',
        ),
        (
            TRAIN,
            ['{config}', '--cfg-options', *UDL, 'optim_wrapper.udl.scope=bogus'],
            "udl.scope is 'bogus', expected one",
        ),
        (TRAIN, ['{config}', '--cfg-options', 'param_scheduler.0.type=NoSuchLR'], 'NoSuchLR is not in the'),
        (TRAIN, ['{config}', '--auto-scale-lr', '--cfg-options', 'work_dir=w'], None),
        (TRAIN, ['{config}', '--seed', 'x'], "argument --seed: invalid int value: 'x'"),
        (
            TRAIN,
            ['{config}', '--work-dir', 'broken.py/w'],
            'work dir broken.py/w: cannot be written to (Not a directory)',
        ),
        (TRAIN, ['{config}', '--resume', 'page.pth'], '--resume page.pth: a web page, not a checkpoint'),
        (TEST, ['{config}', 'page.pth'], 'checkpoint page.pth: a web page, not a checkpoint'),
        (TEST, ['{config}', 'cut.pth'], 'checkpoint cut.pth: cut short'),
        (TEST, ['{config}', 'gone.pth'], 'checkpoint gone.pth: no such file'),
        (TEST, ['{config}', 'gone.pth', '--class-table', 't.txt'], "argument --class-table: 't.txt' must end in .csv"),
        (TEST, ['{config}', 'gone.pth', '--dump', 'p.json'], "argument --dump: 'p.json' must end in .pkl"),
        (TEST, ['{config}', 'gone.pth', '--interval', '0'], 'argument --interval: 0 is not'),
    ],
)
def test_what_the_user_can_mend_is_said_plainly(monkeypatch, capfd, config, tmp_path, tool, args, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'broken.py').write_text('model = dict(\n')
    (tmp_path / 'page.pth').write_text('<!DOCTYPE html>')
    torch.save(torch.ones(9), tmp_path / 'whole.pth')
    (tmp_path / 'cut.pth').write_bytes((tmp_path / 'whole.pth').read_bytes()[:-99])
    if message is None:  # a config without the setting that the option needs
        text = config.read_text().replace('auto_scale_lr = dict(base_batch_size=4)', '')
        (tmp_path / 'tiny.py').write_text(text)
        config, message = tmp_path / 'tiny.py', '--auto-scale-lr: config'
    args = [arg.format(config=config, broken='broken.py') for arg in args]
    assert run(monkeypatch, TOOLS / tool, *args) == 2
    error = capfd.readouterr().err
    assert message in error
    assert 'Traceback' not in error


@pytest.mark.parametrize('workers', [0, 1])
def test_a_broken_clip_is_named_when_training_meets_it(monkeypatch, capfd, config, tmp_path, workers):
    (tmp_path / 'videos').mkdir()
    for video in (config.parent / 'videos').iterdir():
        content = video.read_bytes()
        (tmp_path / 'videos' / video.name).write_bytes(content[:2000] if video.name == '6.mp4' else content)
    assert (
        run(
            monkeypatch,
            TOOLS / TRAIN,
            config,
            '--work-dir',
            tmp_path / 'w',
            '--cfg-options',
            f'train_dataloader.dataset.data_prefix.video={tmp_path / "videos"}',
            f'train_dataloader.num_workers={workers}',
        )
        == 2
    )
    error = capfd.readouterr().err
    assert 'train.py: error: 1 of 8 clips of ' in error
    assert 'max_broken=0.05 allows 0; tools/data/check_videos.py finds' in error
    assert f'clip {tmp_path}/videos/6.mp4: the file is incomplete, its last ' in error
    assert 'Traceback' not in error


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (RuntimeError('shapes'), cli.UsageError),
        (RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed.'), RuntimeError),
        (torch.cuda.OutOfMemoryError('CUDA out of memory'), torch.cuda.OutOfMemoryError),
    ],
)
def test_only_what_a_module_is_given_is_a_mistake_of_the_config(monkeypatch, config, tmp_path, error, expected):
    cfg = Config.fromfile(config)
    cfg.work_dir = str(tmp_path)
    forget_runs()
    runner = cli.build_runner(cfg)

    def forward(self, *args, **kwargs):
        raise error

    monkeypatch.setattr(type(runner.model.neck), 'forward', forward)
    with pytest.raises(expected) as end, explained_start(runner, 'train'):
        runner.train()
    assert type(end.value) is expected
    assert ('model.neck fails on what it is given: RuntimeError: shapes' in str(end.value)) == (
        expected is cli.UsageError
    )


def test_errors_of_a_data_set_are_said_plainly_in_a_test(monkeypatch, capfd, config, trained, tmp_path):
    assert (
        run(
            monkeypatch,
            TOOLS / TEST,
            config,
            trained / 'epoch_2.pth',
            '--work-dir',
            tmp_path,
            '--cfg-options',
            'test_dataloader.dataset.type=FineGymDataset',
        )
        == 2
    )
    error = capfd.readouterr().err
    assert "list.txt, line 1: found '0.mp4 0', expected VIDEO_E_START_END" in error
    assert 'Traceback' not in error
    assert sys.last_type is cli.UsageError  # so that the end of a process group is not waited for


def test_what_is_no_mistake_of_the_config_keeps_its_traceback(monkeypatch, config, tmp_path):
    """Nor is anything that comes after the first step."""
    cfg = Config.fromfile(config)
    cfg.work_dir = str(tmp_path)

    class Failing(Hook):
        def __init__(self, error, at):
            self.error, self.at = error, at

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if batch_idx == self.at:
                raise self.error

    for error, at, expected in [
        (ValueError('a'), 0, cli.UsageError),
        (ValueError('b'), 1, ValueError),
        (RuntimeError('killed'), 0, RuntimeError),
        (OSError(28, 'full'), 0, OSError),
    ]:
        forget_runs()
        runner = cli.build_runner(cfg)
        runner.register_hook(Failing(error, at))
        with pytest.raises(expected), explained_start(runner, 'train'):
            runner.train()
