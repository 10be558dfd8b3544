"""tools/train.py and tools/test.py on a run of seconds; MMAction2's own tools on the same config."""

from __future__ import annotations

import os
import pickle
import re
import runpy
import subprocess
import sys
from pathlib import Path

import mmaction
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

from mmdsts import cli
from mmdsts.start import explained_start

from .tiny_run import write

# Trainings here are those of a user, also the one that several tests share.
pytestmark = pytest.mark.new_neurons

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
THEIRS = Path(mmaction.__file__).parent / '.mim' / 'tools'


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return write(tmp_path_factory.mktemp('run') / 'tiny')


def run(monkeypatch, tool, *args):
    """Run a tool in this process; returns its exit status."""
    monkeypatch.setattr(sys, 'argv', [str(tool), *map(str, args)])
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr(sys, 'last_type', None, raising=False)  # is set by an error, and restored
    for kind in (MMLogger, MessageHub, Visualizer):  # runs started in the same second would share them
        kind._instance_dict.clear()
    try:
        runpy.run_path(str(tool), run_name='__main__')
    except SystemExit as end:
        return end.code
    return 0


def losses(checkpoint):
    """Training losses in the message hub of a checkpoint."""
    return torch.load(checkpoint)['message_hub']['log_scalars']['train/loss']._log_history.tolist()


@pytest.fixture(scope='module')
def trained(config):
    """A work dir after two epochs with seed 3."""
    work_dir = config.parent / 'trained'
    with pytest.MonkeyPatch.context() as patch:
        assert run(patch, TOOLS / 'train.py', config, '--work-dir', work_dir, '--seed', 3) == 0
    return work_dir


def test_mmactions_own_tool_gives_the_same_losses(monkeypatch, config, trained, tmp_path):
    assert run(monkeypatch, THEIRS / 'train.py', config, '--work-dir', tmp_path, '--seed', 3) == 0
    ours = losses(trained / 'epoch_2.pth')
    assert len(ours) == 4
    assert losses(tmp_path / 'epoch_2.pth') == ours


@pytest.mark.parametrize('tools', [TOOLS, THEIRS], ids=['ours', 'mmaction2'])
def test_test_tool_reports_and_dumps(monkeypatch, capfd, config, trained, tmp_path, tools):
    dump = tmp_path / 'predictions.pkl'
    assert (
        run(monkeypatch, tools / 'test.py', config, trained / 'epoch_2.pth', '--dump', dump, '--work-dir', tmp_path)
        == 0
    )
    printed = ''.join(capfd.readouterr())
    assert 'acc/top1' in printed
    assert 'acc/mean1' in printed
    predictions = pickle.loads(dump.read_bytes())
    assert len(predictions) == 8
    for prediction in predictions:
        assert prediction['pred_score'].sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize('tools', [TOOLS, THEIRS], ids=['ours', 'mmaction2'])
@pytest.mark.parametrize('state', ['no note', 'newest cut short'])
def test_resume_finds_the_newest_that_can_be_read(monkeypatch, config, trained, tmp_path, tools, state):
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    if state == 'newest cut short':
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_2.pth'))
        (tmp_path / 'epoch_2.pth').write_bytes((trained / 'epoch_2.pth').read_bytes()[:9999])
    assert (
        run(
            monkeypatch,
            tools / 'train.py',
            config,
            '--work-dir',
            tmp_path,
            '--resume',
            '--cfg-options',
            'train_cfg.max_epochs=3',
            'default_hooks.checkpoint.type=DurableCheckpointHook',
        )
        == 0
    )
    log = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    reached = 1 if state == 'newest cut short' else 2
    assert f'resumed epoch: {reached}, iter: {2 * reached}' in log
    assert ('Passed over' in log) == (state == 'newest cut short')
    assert losses(tmp_path / 'epoch_3.pth')[: 2 * reached] == losses(trained / f'epoch_{reached}.pth')


def test_resume_goes_on_where_training_stopped(monkeypatch, config, trained, tmp_path):
    (tmp_path / 'epoch_1.pth').write_bytes((trained / 'epoch_1.pth').read_bytes())
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    assert run(monkeypatch, TOOLS / 'train.py', config, '--work-dir', tmp_path, '--seed', 3, '--resume') == 0
    resumed, through = torch.load(tmp_path / 'epoch_2.pth'), torch.load(trained / 'epoch_2.pth')
    assert resumed['meta']['iter'] == through['meta']['iter'] == 4
    assert losses(tmp_path / 'epoch_2.pth')[:2] == losses(trained / 'epoch_1.pth')
    assert resumed['param_schedulers'][0]['last_step'] == through['param_schedulers'][0]['last_step']
    assert resumed['optimizer']['param_groups'][0]['lr'] == through['optimizer']['param_groups'][0]['lr']


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='repairs the launcher on machines without a GPU')
@pytest.mark.parametrize('tools', [TOOLS, THEIRS], ids=['ours', 'mmaction2'])
def test_pytorch_launcher_without_gpu(config, tmp_path, tools):
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'torch.distributed.run',
            '--standalone',
            '--nproc_per_node=2',
            tools / 'train.py',
            config,
            '--launcher',
            'pytorch',
            '--work-dir',
            tmp_path,
            '--seed',
            '3',
        ],
        capture_output=True,
        text=True,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
    )
    assert done.returncode == 0, done.stderr
    assert len(losses(tmp_path / 'epoch_2.pth')) == 2  # two ranks share the four batches


def merged(monkeypatch, tool, config, *args):
    """The config after the options of a tool were written into it."""
    monkeypatch.setattr(sys, 'argv', [str(tool), str(config), *map(str, args)])
    module = runpy.run_path(str(tool))
    cfg = Config.fromfile(config)
    module['merge_args'](cfg, module['parse_args']())
    return cfg


def test_train_options_reach_the_config(monkeypatch, config):
    cfg = merged(
        monkeypatch,
        TOOLS / 'train.py',
        config,
        '--no-validate',
        '--auto-scale-lr',
        '--seed',
        7,
        '--diff-rank-seed',
        '--deterministic',
        '--resume',
        'a.pth',
        '--launcher',
        'slurm',
        '--cfg-options',
        'model.neck.num_neurons=5',
        'train_dataloader.batch_size=2',
    )
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert cfg.auto_scale_lr == dict(base_batch_size=4, enable=True)
    assert cfg.randomness == dict(seed=7, diff_rank_seed=True, deterministic=True)
    assert (cfg.resume, cfg.load_from, cfg.launcher) == (True, 'a.pth', 'slurm')
    assert (cfg.model.neck.num_neurons, cfg.train_dataloader.batch_size) == (5, 2)
    assert cfg.work_dir == os.path.join('work_dirs', 'tiny')


def test_resuming_the_newest_keeps_the_weights_to_begin_with(monkeypatch, config, tmp_path):
    """MMAction2's tool drops ``load_from``: a first run that is given ``--resume`` began from random weights."""
    (tmp_path / 'tiny.py').write_text(config.read_text() + "load_from = 'pretrained.pth'")
    cfg = merged(monkeypatch, TOOLS / 'train.py', tmp_path / 'tiny.py', '--resume')
    assert (cfg.resume, cfg.load_from) == (True, None)
    assert cfg.default_hooks.checkpoint.load_from == 'pretrained.pth'
    assert cfg.default_hooks.checkpoint.type == 'DurableCheckpointHook'


def test_resuming_the_newest_goes_before_weights_named_by_cfg_options(monkeypatch, config):
    """They are where the run began: going on from them would leave what was trained since behind."""
    cfg = merged(monkeypatch, TOOLS / 'train.py', config, '--resume', '--cfg-options', 'load_from=start.pth')
    assert (cfg.resume, cfg.load_from) == (True, None)
    assert cfg.default_hooks.checkpoint.load_from == 'start.pth'


def test_seed_of_the_config_stays_without_the_option(monkeypatch, config):
    cfg = merged(monkeypatch, TOOLS / 'train.py', config, '--deterministic', '--cfg-options', 'randomness.seed=5')
    assert cfg.randomness == dict(seed=5, deterministic=True)


def test_amp_switches_each_wrapper_its_own_way(monkeypatch):
    tool = runpy.run_path(str(TOOLS / 'train.py'))
    cfg = Config(dict(optim_wrapper=dict(type='UDLOptimWrapper')))
    tool['enable_amp'](cfg)
    assert cfg.optim_wrapper == dict(type='UDLOptimWrapper', amp=dict(dtype='bfloat16'))

    monkeypatch.setitem(tool['enable_amp'].__globals__, 'get_device', lambda: 'cuda')
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD'))))
    tool['enable_amp'](cfg)
    assert cfg.optim_wrapper == dict(optimizer=dict(type='SGD'), type='AmpOptimWrapper', loss_scale='dynamic')


def test_test_options_reach_the_config(monkeypatch, config):
    cfg = merged(
        monkeypatch,
        TOOLS / 'test.py',
        config,
        'a.pth',
        '--show-dir',
        'drawn',
        '--interval',
        3,
        '--wait-time',
        0.5,
        '--dump',
        'p.pkl',
        '--work-dir',
        'w',
    )
    assert cfg.default_hooks.visualization == dict(
        type='ViewVisualizationHook', enable=True, show=False, out_dir='drawn', interval=3, wait_time=0.5
    )
    assert [metric['type'] for metric in cfg.test_evaluator] == ['AccMetric', 'DumpResults']
    assert (cfg.load_from, cfg.work_dir) == ('a.pth', 'w')


def test_show_dir_gets_the_frames_of_every_nth_clip(monkeypatch, config, trained, tmp_path):
    assert (
        run(
            monkeypatch,
            TOOLS / 'test.py',
            config,
            trained / 'epoch_2.pth',
            '--show-dir',
            tmp_path / 'drawn',
            '--work-dir',
            tmp_path,
            '--interval',
            4,
        )
        == 0
    )
    frames = sorted(path.relative_to(tmp_path / 'drawn') for path in (tmp_path / 'drawn').rglob('*.*g'))
    assert {path.parts[0] for path in frames} == {'0_0', '4_0'}
    assert len(frames) == 2 * 4


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
    for kind in (MMLogger, MessageHub, Visualizer):
        kind._instance_dict.clear()
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
        for kind in (MMLogger, MessageHub, Visualizer):
            kind._instance_dict.clear()
        runner = cli.build_runner(cfg)
        runner.register_hook(Failing(error, at))
        with pytest.raises(expected), explained_start(runner, 'train'):
            runner.train()
