"""tools/ablate.py on eight made-up videos."""

from __future__ import annotations

import csv
import re
import runpy
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdsts.analysis.ablation.configs import neck_of
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
    common = (config, '--checkpoint', checkpoint, '--frozen', '--epochs', 1, '--batch-size', 4, '--variants', 'dsts',
              'dsts+udl', 'L=2', '--baseline', 'static', 'dsts')
    status, out, _ = ablate(*common, '--seeds', 1)
    assert status == 0
    folder = tmp_path / 'work_dirs' / 'ablate_tiny_frozen'
    rows = table(folder)
    assert [(row['variant'], row['seed']) for row in rows] == [(name, '0') for name in ('static', 'dsts', 'dsts+udl',
                                                                                       'L=2')]
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
        (['--baseline', 'M=2'], r"no argument 'M'"),
        (['--variants', 'N=0'], r'variant N=0: num_neurons must be at least 1, got 0'),
        (['--checkpoint', 'none.pth'], r'--checkpoint none.pth: no such file'),
        (['--neck', 'pulse=loud'], r"pulse must be one of .*got 'loud'"),
        (['--cfg-options', 'test_dataloader.dataset.ann_file=none.txt'], r'none.txt does not exist'),
    ],
)
def test_usage_errors_are_one_line(ablate, tiny, tmp_path, options, message):
    status, _, err = ablate(tiny[0], '--frozen', *options)
    assert status == 2
    assert len(err.splitlines()) == 1
    assert err.startswith('ablate.py: error: ')
    assert re.search(message, err)
    assert not (tmp_path / 'work_dirs').exists()


def test_control_needs_no_config(ablate, tmp_path):
    status, out, _ = ablate('--control', 'groups=3', 'train=40', 'test=9', '--neck', 'num_neurons=2', '--epochs', 1,
                            '--batch-size', 8, '--seeds', 1, '--variants', 'dsts+udl', 'two_operators')
    assert status == 0
    folder = tmp_path / 'work_dirs' / 'control'
    assert [row['variant'] for row in table(folder)] == ['static', 'dsts+udl', 'two_operators']
    assert '9 test clips' in (folder / 'table.md').read_text()
    assert (folder / 'table.md').read_text().startswith('# --control groups=3 train=40 test=9: frozen features')
    assert all(0 <= float(row['within_set']) <= 1 for row in table(folder))


@pytest.mark.parametrize('options, message', [
    (['--control', 'nois=1'], 'unknown nois; expected some of groups, bits, channels, size, noise, distance, seed'),
    (['--control', 'groups=0'], 'groups must be at least 1, got 0'),
    (['--control', 'train=0'], 'train and test must be numbers of samples'),
    (['--control', 'channels'], 'not of the form KEY=VALUE'),
    (['--control', 'groups=2', '--checkpoint', 'a.pth'], 'it has no backbone'),
    ([], 'expected one of CONFIG and --control'),
])
def test_what_a_control_does_not_take(ablate, options, message):
    status, _, err = ablate(*options)
    assert status == 2
    assert message in err.splitlines()[-1]


@pytest.mark.parametrize('options', [['--seeds', '0'], ['--jobs', 'x'], ['--lr', '-1'], ['--augmented-passes', '-1']])
def test_numbers_out_of_range(ablate, tiny, options):
    status, _, err = ablate(tiny[0], *options)
    assert status == 2
    assert options[0] in err.splitlines()[-1]


def test_help_names_variants_and_groups(ablate):
    status, out, _ = ablate('--help')
    assert status == 0
    for word in ('parameter_twin', 'random_routing', 'pulses', 'all', '--frozen', 'examples:'):
        assert word in out


@pytest.mark.slow
def test_whole_model_goes_on_after_a_stop(tiny, tmp_path):
    config, checkpoint = tiny
    cfg = Config.fromfile(config)
    cfg.train_cfg.max_epochs = 25
    cfg.param_scheduler = None
    cfg.log_processor = dict(window_size=1)
    variant = find_variant('dsts+udl', neck_of(cfg))
    job = full_job(cfg, variant, 1, str(checkpoint), 'start', describe_experiment_data(cfg), tmp_path, TOOLS)
    folder = Path(job.task.folder)
    first, errors = FullRuns(), []

    def run():
        try:
            first(job)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 200
    while not (folder / 'last_checkpoint').is_file() and time.monotonic() < deadline and thread.is_alive():
        time.sleep(0.1)
    first.stop()
    thread.join(60)
    assert 'tools/train.py ended with status' in str(errors)
    assert not (folder / 'trained.txt').exists()
    run, clips = FullRuns()(job)
    assert run.variant == 'dsts+udl'
    assert clips.correct.shape == (8,)
    assert run.accuracy == clips.correct.mean()
    assert run.loss == read_log(folder)['loss']
    assert 0 <= run.agreement <= 1
    assert len(list(folder.glob('*/vis_data/scalars.json'))) == 2  # it did not start anew
    assert (folder / 'last_checkpoint').read_text().endswith('epoch_25.pth')
