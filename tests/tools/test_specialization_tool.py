"""tools/analysis/specialization.py on a model of seconds."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from .tiny_run import write

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'analysis' / 'specialization.py'


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Config and checkpoint of a model that was not trained."""
    config = write(tmp_path_factory.mktemp('tiny') / 'run')
    return config, save_model(config, config.parent / 'model.pth')


def save_model(config, checkpoint):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmaction'):
        model = MODELS.build(Config.fromfile(str(config)).model)
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return checkpoint


def run(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])
    try:
        runpy.run_path(str(TOOL), run_name='__main__')
    except SystemExit as end:
        return end.code
    return 0


def test_page_of_a_checkpoint(monkeypatch, capfd, made, tmp_path):
    assert run(monkeypatch, *made, '--out', tmp_path / 'page', '--device', 'cpu', '--clips', 1, '--max-clips', 6) == 0
    assert capfd.readouterr().out.splitlines()[-1] == f'page: {tmp_path}/page/index.html'
    page = (tmp_path / 'page' / 'index.html').read_text()
    assert 'What the neurons of tiny learned' in page
    assert str(made[0].parent) not in page  # no path of a machine
    numbers = json.loads((tmp_path / 'page' / 'numbers.json').read_text())
    assert numbers['clips'] == 6
    assert sum(numbers['layers'][0]['use']) == pytest.approx(1)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['{config}', 'gone.pth'], 'checkpoint gone.pth: no such file'),
        (['gone.py', '{checkpoint}'], 'config gone.py: no such file'),
        (['{config}', '{checkpoint}', '--max-clips', '1'], 'argument --max-clips: 1 is below 2'),
        (['{config}', '{checkpoint}', '--clips', '-1'], 'argument --clips: -1 is below 0'),
        (['{config}', '{checkpoint}', '--seed', '-1'], 'argument --seed: -1 is below 0'),
        (['{config}', '{checkpoint}', '--cfg-options', 'model.neck.num_neurons=0'], 'tiny.py: num_neurons must be'),
        (['{config}', '{checkpoint}', '--split', 'some'], 'argument --split'),
        (
            ['{config}', '{checkpoint}', '--cfg-options', 'val_dataloader=None', '--split', 'val'],
            'has no val_dataloader',
        ),
        (['{config}', '{checkpoint}', '--cfg-options', 'model.neck.num_neurons=3'], 'does not fit the model'),
        (['{static}', '{static_checkpoint}'], 'num_neurons=1, a static layer'),
        (['{config}', '{checkpoint}', '--cfg-options', 'val_dataloader.dataset.ann_file=gone.txt'], 'gone.txt'),
        (
            ['{config}', '{checkpoint}', '--cfg-options', 'val_dataloader.dataset.data_root=some/toygym'],
            f'{TOOL.parents[1]}/data/make_toygym.py --out some/toygym',
        ),
        (['{config}', '{checkpoint}', '--cfg-options', 'val_dataloader.dataset.type=NoDataset'], 'NoDataset is not in'),
        (['{config}', '{checkpoint}', '--cfg-options', 'model.neck.num_neurons.x=1'], '--cfg-options'),
        (['{config}', '{checkpoint}', '--device', 'cuda:99'], "argument --device: 'cuda:99' cannot be used: "),
        (['{config}', '{checkpoint}', '--out', '{config}'], 'error: --out {config}: no folder can be made there'),
    ],
)
def test_what_the_user_can_mend_is_said_plainly(monkeypatch, capfd, made, tmp_path, args, message):
    monkeypatch.chdir(tmp_path)
    config, checkpoint = made
    static = tmp_path / 'static.py'
    if '{static}' in args:
        static.write_text(config.read_text().replace('num_neurons=2', 'num_neurons=1'))
        save_model(static, tmp_path / 'static.pth')
    values = dict(config=config, checkpoint=checkpoint, static=static, static_checkpoint=tmp_path / 'static.pth')
    assert run(monkeypatch, *[arg.format(**values) for arg in args]) == 2
    error = capfd.readouterr().err
    assert message.format(**values) in error
    assert 'Traceback' not in error
