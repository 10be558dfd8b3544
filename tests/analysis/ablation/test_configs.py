from pathlib import Path

import pytest
from mmengine.config import Config

from mmdsts.analysis.ablation.configs import neck_of, require, run_config
from mmdsts.analysis.ablation.variants import find_variant
from mmdsts.cli import UsageError

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'


@pytest.fixture
def cfg():
    return Config.fromfile(CONFIGS / 'dsts_toygym.py')


def made(cfg, name):
    return run_config(cfg, find_variant(name, neck_of(cfg)), 'start.pth', 'scores.pt')


@pytest.mark.parametrize('base', ['dsts_toygym.py', 'dsts_toygym_noudl.py'])
def test_only_neck_and_update_differ(base):
    cfg = Config.fromfile(CONFIGS / base)
    plain, udl, alone = (made(cfg, name).to_dict() for name in ('dsts', 'dsts+udl', 'backbone'))
    assert plain['model'] == udl['model']
    assert plain['model']['neck'] == neck_of(cfg)
    assert 'neck' not in alone['model']
    assert (plain['optim_wrapper']['type'], udl['optim_wrapper']['type']) == ('OptimWrapper', 'UDLOptimWrapper')
    assert 'udl' not in plain['optim_wrapper']
    assert plain['optim_wrapper']['optimizer'] == udl['optim_wrapper']['optimizer']
    assert plain['train_cfg']['type'] == 'EpochBasedTrainLoop'
    assert udl['train_cfg']['type'] == 'UDLEpochBasedTrainLoop'
    for part in ('train_dataloader', 'test_dataloader', 'param_scheduler', 'load_from'):
        assert plain[part] == udl[part] == alone[part]
    assert plain['load_from'] == 'start.pth'
    assert plain['test_evaluator'][-1] == dict(type='ClipScores', out='scores.pt')
    assert plain['custom_imports']['imports'] == ['mmdsts', 'mmdsts.analysis.ablation']
    assert 'save_best' not in plain['default_hooks']['checkpoint']
    assert 'save_best' in cfg.default_hooks.checkpoint  # the given config stays as it is


def test_a_made_config_can_be_written_and_read(cfg, tmp_path):
    made(cfg, 'parameter_twin').dump(tmp_path / 'made.py')
    again = Config.fromfile(tmp_path / 'made.py', import_custom_modules=False)
    assert again.model.neck.type == 'TwoOperatorNeck'


def test_plain_variants_of_a_udl_config_lose_what_only_udl_has(cfg):
    cfg.train_cfg.heldout_dataloader = dict(batch_size=2)
    cfg.param_scheduler = [
        dict(type='GroupScheduler', group='upstream', policy='ConstantLR', factor=0.1),
        dict(type='GroupScheduler', group='downstream', policy='LinearLR', start_factor=0.1),
    ]
    plain, udl = made(cfg, 'static'), made(cfg, 'dsts+udl')
    assert 'heldout_dataloader' not in plain.train_cfg
    assert plain.to_dict()['param_scheduler'] == [dict(type='LinearLR', start_factor=0.1)]
    assert udl.train_cfg.heldout_dataloader == dict(batch_size=2)
    assert len(udl.param_scheduler) == 2


def test_frames_of_a_batch_do_not_depend_on_the_variant(cfg):
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    assert made(cfg, 'dsts').train_dataloader.num_workers == 1
    cfg.train_dataloader.num_workers = 4
    assert made(cfg, 'dsts').train_dataloader.num_workers == 4


@pytest.mark.parametrize('hooks', [None, dict(checkpoint=None)])
def test_what_a_config_switches_off_a_run_has_all_the_same(cfg, hooks):
    cfg.default_hooks = hooks
    cfg.custom_imports = None
    run = made(cfg, 'dsts')
    assert run.default_hooks.checkpoint == dict(type='CheckpointHook', max_keep_ckpts=1, save_last=True)
    assert run.custom_imports.imports == ['mmdsts', 'mmdsts.analysis.ablation']


def test_what_a_config_lacks_is_named(cfg):
    require(cfg, 'test_dataloader', 'model.cls_head')
    cfg.test_dataloader = None
    with pytest.raises(UsageError, match=r'dsts_toygym\.py has no test_dataloader'):
        require(cfg, 'train_cfg', 'test_dataloader')
    with pytest.raises(UsageError, match=r'has no model\.cls_tail'):
        require(cfg, 'model.cls_tail')


def test_a_config_without_dsts_is_named(cfg):
    cfg.model.pop('neck')
    with pytest.raises(UsageError, match=r"dsts_toygym\.py: model\.neck is None, expected a 'DSTSNeck'"):
        neck_of(cfg)
    cfg.model.neck = dict(type='TPN')
    with pytest.raises(UsageError, match=r"model\.neck is 'TPN'"):
        neck_of(cfg)
