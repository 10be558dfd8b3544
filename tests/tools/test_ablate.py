"""tools/ablate.py on eight made-up videos."""

from __future__ import annotations

import csv
import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdsts.analysis.ablation.configs import neck_of
from mmdsts.analysis.ablation.experiment import RunError
from mmdsts.analysis.ablation.full_runs import FullRuns, describe_experiment_data, full_job, read_log
from mmdsts.analysis.ablation.variants import find_variant

from .tiny_run import write

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """Config and start checkpoint."""
    config = write(tmp_path_factory.mktemp('ablate') / 'tiny')
    cfg = Config.fromfile(config)
    cfg.model.pop('neck')
    init_default_scope('mmaction')
    torch.manual_seed(0)
    checkpoint = config.parent / 'start.pth'
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), checkpoint)
    return config, checkpoint


@pytest.fixture
def ablate(monkeypatch, tmp_path, capsys):
    """Call the tool in an empty folder: its exit status, its output and its errors."""
    monkeypatch.chdir(tmp_path)

    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['ablate.py', *map(str, args)])
        status = 0
        try:
            runpy.run_path(str(TOOLS / 'ablate.py'), run_name='__main__')
        except SystemExit as end:
            status = end.code
        return (status, *capsys.readouterr())

    return call


def table(folder):
    return list(csv.DictReader((folder / 'runs.csv').open()))


def test_frozen_experiment_and_its_continuation(ablate, tiny, tmp_path):
    config, checkpoint = tiny
    common = (
        config,
        '--checkpoint',
        checkpoint,
        '--frozen',
        '--epochs',
        1,
        '--batch-size',
        4,
        '--variants',
        'dsts',
        'dsts+udl',
        'L=2',
        '--baseline',
        'static',
        'dsts',
    )
    status, out, _ = ablate(*common, '--seeds', 1)
    assert status == 0
    folder = tmp_path / 'work_dirs' / 'ablate_tiny_frozen'
    rows = table(folder)
    assert [(row['variant'], row['seed']) for row in rows] == [
        (name, '0') for name in ('static', 'dsts', 'dsts+udl', 'L=2')
    ]
    assert 'one seed does not say how much the seed decides' in out
    assert 'static twin: one neuron a layer' in (folder / 'table.md').read_text()
    assert sorted(path.name for path in folder.glob('*.png')) == ['differences.png', 'differences_2.png']

    status, out, _ = ablate(*common, '--seeds', 2)
    assert status == 0
    assert '4 of 8 runs were made before' in out
    assert table(folder)[:4] == rows
    assert {row['seed'] for row in table(folder)[4:]} == {'1'}
    # Another learning rate is another experiment, in the same table.
    status, out, _ = ablate(*common, '--seeds', 1, '--lr', '0.1')
    assert status == 0
    assert 'made before' not in out
    assert len(table(folder)) == 12


@pytest.mark.parametrize(
    'options, message',
    [
        (['--variants', 'dtst'], r'--variants dtst: unknown'),
        (['--baseline', 'M=2'], r"--baseline M=2: DSTSNeck has no argument 'M'"),
        (['--variants', 'N=0'], r'variant N=0: num_neurons must be at least 1, got 0'),
        (['--checkpoint', 'none.pth'], r'--checkpoint none.pth: no such file'),
        (['--neck', 'pulse=loud'], r"pulse must be one of .*got 'loud'"),
        (['--cfg-options', 'test_dataloader.dataset.ann_file=none.txt'], r'none.txt does not exist'),
        (['--cfg-options', 'model.cls_head=None'], r'tiny\.py has no model\.cls_head'),
        (['--variants', 'static'], r'--variants static: nothing to compare with the baseline'),
        (['--work-dir', '{config}'], r'work dir .*tiny\.py: cannot be written to .*--work-dir'),
    ],
)
def test_usage_errors_are_one_line(ablate, tiny, tmp_path, options, message):
    status, _, err = ablate(tiny[0], '--frozen', *(option.format(config=tiny[0]) for option in options))
    assert status == 2
    assert len(err.splitlines()) == 1
    assert err.startswith('ablate.py: error: ')
    assert re.search(message, err)
    assert not (tmp_path / 'work_dirs').exists()


@pytest.mark.parametrize(
    'options, message',
    [
        (
            ['train=40', '--variants', 'dsts+udl'],
            r'variant dsts\+udl: 40 training samples, .*at least 64, 2 x --batch-size',
        ),
        (['train=31'], r'variant backbone: 31 training samples, expected at least 32, 1 x --batch-size 32'),
        (['train=40', '--variants', 'in_channels=8'], r'variant in_channels=8: .*the feature has 16 channels'),
        (
            ['train=99', '--cfg-options', 'model.cls_head.num_classes=2'],
            r'the data has a class 31, expected fewer than num_classes=2',
        ),
    ],
)
def test_what_would_end_each_run_ends_none(ablate, tmp_path, options, message):
    status, _, err = ablate('--control', 'test=64', *options, '--epochs', 1, '--seeds', 1)
    assert status == 2
    assert len(err.splitlines()) == 1
    assert re.search(message, err)
    assert not (tmp_path / 'work_dirs' / 'control' / 'runs.csv').exists()


def test_control_needs_no_config(ablate, tmp_path):
    status, out, _ = ablate(
        '--control',
        'groups=3',
        'train=40',
        'test=9',
        '--neck',
        'num_neurons=2',
        '--epochs',
        1,
        '--batch-size',
        8,
        '--seeds',
        1,
        '--variants',
        'dsts+udl',
        'two_operators',
    )
    assert status == 0
    folder = tmp_path / 'work_dirs' / 'control'
    assert [row['variant'] for row in table(folder)] == ['static', 'dsts+udl', 'two_operators']
    assert '9 test clips' in (folder / 'table.md').read_text()
    assert (folder / 'table.md').read_text().startswith('# --control groups=3 train=40 test=9: frozen features')
    assert all(0 <= float(row['within_set']) <= 1 for row in table(folder))


@pytest.mark.parametrize(
    'options, message',
    [
        (['--control', 'nois=1'], 'unknown nois; expected some of groups, bits, channels, size, noise, distance, seed'),
        (['--control', 'groups=0'], 'groups must be at least 1, got 0'),
        (['--control', 'train=0'], 'train and test must be numbers of samples'),
        (['--control', 'channels'], 'not of the form KEY=VALUE'),
        (['--control', 'groups=2', '--checkpoint', 'a.pth'], 'it has no backbone'),
        ([], 'expected one of CONFIG and --control'),
    ],
)
def test_what_a_control_does_not_take(ablate, options, message):
    status, _, err = ablate(*options)
    assert status == 2
    assert message in err.splitlines()[-1]


@pytest.mark.parametrize(
    'options',
    [
        ['--seeds', '0'],
        ['--jobs', 'x'],
        ['--augmented-passes', '-1'],
        *(['--lr', rate, '--frozen'] for rate in ('-1', 'nan', 'inf')),
        ['--device', 'cuda:99', '--frozen'],
        # Of the frozen features' training, which no whole model follows.
        ['--epochs', '3'],
        ['--device', 'meta'],
    ],
)
def test_options_that_cannot_be_followed(ablate, tiny, options):
    status, _, err = ablate(tiny[0], *options)
    assert status == 2
    assert options[0] in err.splitlines()[-1]


def test_help_names_variants_and_groups(ablate):
    status, out, _ = ablate('--help')
    assert status == 0
    for word in ('parameter_twin', 'random_routing', 'pulses', 'all', '--frozen', 'examples:'):
        assert word in out


# Trains three epochs of however many, then fails.
FAILS_EARLY = """
import runpy, sys
sys.argv = [{train!r}, *sys.argv[1:], '--cfg-options', 'train_cfg.max_epochs=3']
runpy.run_path({train!r}, run_name='__main__')
sys.exit('the machine went away')
"""


@pytest.mark.slow
def test_whole_model_goes_on_after_a_training_that_ended_early(tiny, tmp_path):
    config, checkpoint = tiny
    cfg = Config.fromfile(config)
    cfg.train_cfg.max_epochs = 5
    cfg.param_scheduler = None
    cfg.log_processor = dict(window_size=1)
    variant = find_variant('dsts+udl', neck_of(cfg))
    job = full_job(cfg, variant, 1, str(checkpoint), 'start', describe_experiment_data(cfg), tmp_path, TOOLS)
    folder = Path(job.task.folder)
    (tmp_path / 'early').mkdir()
    (tmp_path / 'early' / 'train.py').write_text(FAILS_EARLY.format(train=str(TOOLS / 'train.py')))
    with pytest.raises(RunError, match=r'train\.py ended with status 1: the machine went away \(see .*train\.log'):
        FullRuns()(job._replace(task=job.task._replace(tools=str(tmp_path / 'early'))))
    assert not (folder / 'trained.txt').exists()
    run, clips = FullRuns()(job)
    assert run.variant == 'dsts+udl'
    assert clips.correct.shape == (8,)
    assert run.accuracy == clips.correct.mean()
    assert 0 <= run.agreement <= 1
    logged = [
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(folder.glob('*/vis_data/scalars.json'))
    ]
    # It went on where the other stopped, and from the start checkpoint before.
    epochs = [[line['epoch'] for line in lines if 'loss' in line] for lines in logged]
    assert epochs == [[1, 1, 2, 2, 3, 3], [4, 4, 5, 5]]
    assert run.loss == logged[1][-1]['loss'] == read_log(folder)['loss']
    assert f'Load checkpoint from {checkpoint}' in (folder / 'train.log').read_text()


def test_files_of_something_else_are_no_remains_of_a_run(tiny, tmp_path):
    cfg = Config.fromfile(tiny[0])
    variant = find_variant('static', neck_of(cfg))
    job = full_job(cfg, variant, 0, str(tiny[1]), 'start', describe_experiment_data(cfg), tmp_path, TOOLS)
    folder = Path(job.task.folder)
    folder.mkdir(parents=True)
    (folder / 'epoch_100.pth').write_text('a week of training')
    with pytest.raises(RunError, match=r'static-s0 holds files of something else \(epoch_100\.pth\).*--work-dir'):
        FullRuns()(job)
    assert (folder / 'epoch_100.pth').read_text() == 'a week of training'


def test_nothing_starts_after_a_stop(tiny, tmp_path):
    cfg = Config.fromfile(tiny[0])
    variant = find_variant('static', neck_of(cfg))
    job = full_job(cfg, variant, 0, str(tiny[1]), 'start', describe_experiment_data(cfg), tmp_path, TOOLS)
    runs = FullRuns()
    runs.stop()
    with pytest.raises(RunError, match='stopped'):
        runs(job)
    assert not list(Path(job.task.folder).glob('*.pth'))
