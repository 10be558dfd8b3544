"""Beside the model: update, imports and test pipelines of an attached config, and the file that says them."""

from __future__ import annotations

import copy

import mmaction
import pytest
from mmengine.config import Config

import mmdsts
from mmdsts.attachment import Options, config_text, decide
from mmdsts.attachment.config import changes
from mmdsts.attachment.text import base_of
from mmdsts.errors import UsageError

from .small_configs import CONFIGS, clips, config, slowonly

SMALL = dict(num_layers=1, num_neurons=2, hidden_channels=8)


def test_the_file_says_what_changes_and_the_rest_is_inherited(tmp_path):
    cfg = CONFIGS['slowonly']
    cfg.dump(tmp_path / 'base.py')
    changed = changes(cfg, decide(cfg, Options(**SMALL)), udl=True)
    out = tmp_path / 'sub' / 'attached.py'
    out.parent.mkdir()
    out.write_text(config_text(base_of(tmp_path / 'base.py', out), 'a comment', changed))
    text = out.read_text()
    assert text.startswith("# a comment\n_base_ = '../base.py'\n")
    assert len(text.splitlines()) < 15
    read = Config.fromfile(out)
    in_memory = mmdsts.attach(cfg, **SMALL)
    assert read.to_dict() == in_memory.to_dict()
    assert (read.optim_wrapper.type, read.train_cfg.type) == ('UDLOptimWrapper', 'UDLEpochBasedTrainLoop')
    assert read.train_cfg.max_epochs == 1 and read.optim_wrapper.optimizer == cfg.optim_wrapper.optimizer
    assert read.model.cls_head == cfg.model.cls_head
    assert read.custom_imports == dict(imports=['mmdsts'], allow_failed_imports=False)


@pytest.mark.parametrize(
    ('version', 'name'),
    [('1.2.0', 'mmaction::recognition/tsn/a.py'), ('1.1.0', '../site/mmaction/.mim/configs/recognition/tsn/a.py')],
)
def test_a_config_of_mmaction_is_named_by_its_place_there(monkeypatch, tmp_path, version, name):
    monkeypatch.setattr(mmaction, '__version__', version)  # up to 1.1 only where mmdsts is imported such a name is read
    path = tmp_path / 'site' / 'mmaction' / '.mim' / 'configs' / 'recognition' / 'tsn' / 'a.py'
    assert base_of(path, tmp_path / 'mine' / 'b.py') == name


def test_test_clips_that_make_no_views_are_fewer():
    def num_clips(cfg):
        attached = mmdsts.attach(cfg, **SMALL)
        return attached.test_dataloader.dataset.pipeline[0].num_clips

    assert num_clips(CONFIGS['tsn']) == 24  # 25 are no multiple of 3
    parts = CONFIGS['tsn'].model.to_dict()
    again = lambda loaders: config(parts['backbone'], parts['cls_head'], 'Recognizer2D', loaders=loaders)  # noqa: E731
    assert num_clips(again(clips(1, 5, test_clips=25))) == 25
    assert num_clips(again(clips(4, 1, test_clips=10))) == 10  # each clip is a view


def test_test_clips_inside_wrappers():
    cfg = copy.deepcopy(CONFIGS['tsn'])
    inner = cfg.test_dataloader.dataset.to_dict()
    wrapped = dict(type='ConcatDataset', datasets=[inner, dict(type='RepeatDataset', times=1, dataset=inner)])
    cfg.val_dataloader = cfg.test_dataloader = dict(dataset=wrapped)
    attached = mmdsts.attach(cfg, **SMALL)
    assert attached.val_dataloader == attached.test_dataloader
    first, second = attached.test_dataloader.dataset.datasets
    assert (first.type, second.type, second.times) == ('VideoDataset', 'RepeatDataset', 1)
    for part in (first, second.dataset):
        assert [step.get('num_clips') for step in part.pipeline] == [24, None, None, None]


def test_mixed_precision_and_loops_by_iterations():
    cfg = slowonly(wrapper=dict(type='AmpOptimWrapper', optimizer=dict(type='SGD', lr=1), loss_scale='dynamic'))
    cfg.train_cfg = dict(by_epoch=False, max_iters=3)
    attached = mmdsts.attach(cfg, **SMALL)
    assert attached.optim_wrapper.amp == dict(dtype='float16', loss_scale='dynamic')
    assert 'loss_scale' not in attached.optim_wrapper
    assert attached.train_cfg == dict(type='UDLIterBasedTrainLoop', max_iters=3)


def test_without_udl_the_update_stays():
    plain = mmdsts.attach(CONFIGS['slowonly'], udl=False, **SMALL)
    assert plain.optim_wrapper == CONFIGS['slowonly'].optim_wrapper
    assert plain.train_cfg == CONFIGS['slowonly'].train_cfg
    # TSM's constructor refuses a neck of unknown modules.
    wrapper = mmdsts.attach(CONFIGS['tsm'], udl=False, **SMALL).optim_wrapper
    assert 'type' not in wrapper
    assert wrapper.constructor == 'UDLOptimWrapperConstructor'
    assert wrapper.base_constructor == 'TSMOptimWrapperConstructor'


def test_updates_without_a_counterpart():
    cfg = slowonly()
    cfg.train_cfg.type = 'MultiLoaderEpochBasedTrainLoop'
    with pytest.raises(UsageError, match="'MultiLoaderEpochBasedTrainLoop'.*Attach without UDL"):
        mmdsts.attach(cfg, **SMALL)
    assert mmdsts.attach(cfg, udl=False, **SMALL).train_cfg == cfg.train_cfg
    cfg = slowonly(wrapper=dict(type='DeepSpeedOptimWrapper', optimizer=1))
    with pytest.raises(UsageError, match="'DeepSpeedOptimWrapper'.*attach without UDL"):
        mmdsts.attach(cfg, **SMALL)


def test_a_config_that_only_tests_gets_a_neck_alone():
    cfg = slowonly()
    for name in ('optim_wrapper', 'train_cfg', 'train_dataloader'):
        cfg.pop(name)
    assert set(changes(cfg, decide(cfg, Options(**SMALL)), udl=True)) == {'custom_imports', 'model'}


@pytest.mark.parametrize('imports', ['math', ['math']])
@pytest.mark.parametrize('allow', [True, False])
def test_imports_of_the_config_are_kept(imports, allow):
    cfg = slowonly()
    cfg.custom_imports = dict(imports=imports, allow_failed_imports=allow)
    attached = mmdsts.attach(cfg, **SMALL).custom_imports
    assert attached == dict(imports=['math', 'mmdsts'], allow_failed_imports=allow)


def test_what_the_base_has_or_sets_to_none(tmp_path):
    cfg = slowonly(wrapper=dict(type='UDLOptimWrapper', optimizer=dict(type='SGD', lr=0.01)))
    cfg.custom_imports = dict(imports=['mmdsts'], allow_failed_imports=False)
    cfg.model.neck = cfg.default_hooks = None
    cfg.log_processor = dict(type='LogProcessorOfMine')
    changed = changes(cfg, decide(cfg, Options(**SMALL)), udl=True)
    assert set(changed) == {'model', 'train_cfg', 'default_hooks'}
    cfg.dump(tmp_path / 'base.py')
    (tmp_path / 'attached.py').write_text(config_text('base.py', 'a comment', changed))
    read = Config.fromfile(tmp_path / 'attached.py')
    assert read.to_dict() == mmdsts.attach(cfg, **SMALL).to_dict()
    assert read.model.neck.type == 'DSTSNeck' and list(read.default_hooks) == ['routing_watch']


def test_no_package_is_installed_to_read_a_config(monkeypatch):
    monkeypatch.setattr('mmengine.hub.hub.install_package', lambda package: pytest.fail(f'pip install {package}'))
    for source in ('not_installed::a/b.py', '::', 'not-a-name::a.py'):
        with pytest.raises(UsageError, match='is no installed package, expected mmaction::PATH'):
            mmdsts.attach(source)


def test_a_size_that_the_pipeline_does_not_say_is_named():
    cfg = slowonly()
    assert '(B, 32, 4, 2, 2).' in decide(cfg, Options(**SMALL)).found
    for name in ('train', 'val', 'test'):
        pipeline = cfg[f'{name}_dataloader'].dataset.pipeline
        cfg[f'{name}_dataloader'].dataset.pipeline = [step for step in pipeline if step.type != 'CenterCrop']
    assert '(B, 32, 4, 7, 7) where frames are 224 x 224: the pipeline' in decide(cfg, Options(**SMALL)).found
