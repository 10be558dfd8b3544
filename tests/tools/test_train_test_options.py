"""What the options of tools/train.py and tools/test.py make of a config."""

from __future__ import annotations

import os
import runpy
import sys

from mmengine.config import Config

from .tiny_run import TOOLS


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
