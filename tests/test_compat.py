"""Each repair: it does its work, only where it is needed, and a second call changes nothing."""
from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.utils import digit_version
from torch.utils.data import Dataset

from mmdsts import compat

ROOT = Path(__file__).resolve().parents[1]
needs_weights_only = pytest.mark.skipif(digit_version(torch.__version__) < digit_version('2.6'),
                                        reason='torch.load trusts every file before torch 2.6')


def python(code, **env):
    """Run code in a fresh interpreter; returns what it printed."""
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code)], capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': path, **env})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ''
    return done.stdout.split()


# -- all of them ------------------------------------------------------------------------------------------------------


def test_a_second_import_of_the_stack_changes_nothing():
    repairs = [compat.patch_missing_importlib_metadata, compat.patch_missing_drn, compat.patch_missing_pkg_resources,
               compat.patch_weights_only, compat.patch_cpu_launcher, compat.patch_chunked_testing,
               compat.patch_loader_without_workers, compat.patch_list_encodings, compat.patch_unpacked_sampling,
               compat.patch_unnamed_clips]
    assert [repair() for repair in repairs] == [False] * len(repairs)


def test_missing_stack_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *a: None if name == 'mmcv' else found(name, *a))
    with pytest.raises(ImportError, match=r'MMAction2 1\.x, but mmcv cannot be imported.*mmdsts\[standalone\]'):
        compat.require_stack()


@pytest.mark.parametrize('first', ['import mmengine.runner, mmaction.registry', ''])
def test_import_works_after_what_others_import_first(first):
    assert python(f"""
        {first or 'pass'}
        import mmdsts, mmaction.models
        from mmaction.registry import MODELS
        print(MODELS.get('Recognizer3D') is not None, MODELS.get('DSTSNeck') is not None)
        """) == ['True', 'True']


def test_an_import_in_a_config_is_enough(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text("custom_imports = dict(imports=['mmdsts'], allow_failed_imports=False)")
    assert python(f"""
        from mmengine.config import Config
        from mmaction.registry import MODELS
        Config.fromfile({str(config)!r})
        print(MODELS.get('DSTSNeck').__name__)
        """) == ['DSTSNeck']


# -- mmaction.models.localizers.drn -----------------------------------------------------------------------------------


def fake_mmaction(folder, with_drn):
    """An installed MMAction2 with or without the folder, as far as ``find_spec`` sees it."""
    package = folder / 'mmaction'
    (package / 'models' / 'localizers' / ('drn' if with_drn else 'bmn')).mkdir(parents=True)
    (package / '__init__.py').touch()
    return importlib.util.spec_from_file_location('mmaction', package / '__init__.py',
                                                  submodule_search_locations=[str(package)])


@pytest.mark.parametrize('with_drn', [True, False])
def test_drn_stands_in_only_where_the_folder_is_missing(monkeypatch, tmp_path, with_drn):
    spec = fake_mmaction(tmp_path, with_drn)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *args: spec)
    for name in ('mmaction.models.localizers.drn', 'mmaction.models.localizers.drn.drn'):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert compat.patch_missing_drn() is not with_drn
    assert ('mmaction.models.localizers.drn.drn' in sys.modules) is not with_drn
    for name in ('mmaction.models.localizers.drn', 'mmaction.models.localizers.drn.drn'):
        sys.modules.pop(name, None)


def test_building_the_stand_in_says_what_is_missing():
    module = sys.modules.get('mmaction.models.localizers.drn.drn')
    if module is None or Path(getattr(module, '__file__', None) or '').is_file():
        pytest.skip('the installed MMAction2 has DRN')
    from mmaction.registry import MODELS
    with pytest.raises(ImportError, match='built without its folder mmaction/models/localizers/drn'):
        MODELS.build(dict(type='DRN'))


# -- importlib_metadata and pkg_resources -----------------------------------------------------------------------------

HIDE = """
import importlib.abc, sys
class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == {name!r}:
            raise ModuleNotFoundError(name)
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *args: None if name == {name!r} else found(name, *args)
sys.meta_path.insert(0, Hidden())
"""


def test_import_without_importlib_metadata():
    assert python(HIDE.format(name='importlib_metadata') + textwrap.dedent("""
        import mmdsts, mmaction.models
        from mmaction.utils import dependency
        print('importlib_metadata' in sys.modules, dependency.satisfy_requirement('torch>=1.0'),
              dependency.satisfy_requirement('no-such-package'))
        """)) == ['False', 'True', 'False']


def test_mmengine_finds_packages_without_pkg_resources(tmp_path):
    (tmp_path / 'config.py').write_text("_base_ = 'mmaction::_base_/models/slowonly_r50.py'")
    assert python(HIDE.format(name='pkg_resources') + textwrap.dedent(f"""
        import mmdsts, mmaction, os
        from mmengine.config import Config
        from mmengine.utils import get_installed_path, is_installed
        print(is_installed('mmaction2'), is_installed('mmaction'), is_installed('no_such_package'),
              get_installed_path('mmaction2') == os.path.dirname(mmaction.__file__),
              Config.fromfile({str(tmp_path / 'config.py')!r}).model.backbone.type)
        """)) == ['True', 'True', 'False', 'True', 'ResNet3dSlowOnly']


def test_unknown_package_without_pkg_resources():
    with pytest.raises(RuntimeError, match="Cannot tell where 'no_such_package' is installed"):
        compat._get_installed_path('no_such_package')


@pytest.mark.skipif(importlib.util.find_spec('pkg_resources') is None, reason='pkg_resources is not installed')
def test_pkg_resources_is_left_alone_where_it_exists():
    from mmengine.utils import package_utils
    assert package_utils.is_installed is not compat._is_installed


# -- checkpoints ------------------------------------------------------------------------------------------------------


class Points(Dataset):
    metainfo = dict(classes=('a', 'b'))

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.full((2,), float(index)), index % 2


class Linear(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x, y, mode='tensor'):
        logits = self.layer(x)
        return dict(loss=torch.nn.functional.cross_entropy(logits, y)) if mode == 'loss' else logits


class NumpyScores(BaseMetric):
    default_prefix = 'score'
    kind = np.float64

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(best=self.kind(0.5))


def runner(work_dir, epochs, metric, **options):
    def loader():
        return dict(dataset=Points(), batch_size=4, num_workers=0, collate_fn=dict(type='default_collate'),
                    sampler=dict(type='DefaultSampler', shuffle=True))

    return Runner(
        model=Linear(), work_dir=str(work_dir), train_dataloader=loader(), val_dataloader=loader(),
        test_dataloader=loader(), train_cfg=dict(by_epoch=True, max_epochs=epochs), val_cfg={}, test_cfg={},
        val_evaluator=[metric()], test_evaluator=[metric()], optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        param_scheduler=[dict(type='LinearLR', begin=0, end=3, by_epoch=False),
                         dict(type='CosineAnnealingLR', T_max=4), dict(type='MultiStepLR', milestones=[1, 2]),
                         dict(type='PolyLR'), dict(type='OneCycleLR', eta_max=0.1, total_steps=50),
                         dict(type='ReduceOnPlateauLR', monitor='score/best')],
        custom_hooks=[dict(type='EMAHook')], log_level='WARNING', default_scope='mmengine',
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, save_best='score/best',
                                           rule='greater')),
        experiment_name=f'{Path(work_dir).name}-{epochs}-{len(options)}', **options)


@pytest.mark.parametrize('kind', [np.float64, np.float32, float])
def test_a_runs_own_checkpoints_resume_and_test(tmp_path, kind):
    metric = type('Scores', (NumpyScores,), dict(kind=kind))
    first = runner(tmp_path, 2, metric)
    first.train()
    resumed = runner(tmp_path, 3, metric, resume=True)
    resumed.train()
    assert (resumed.epoch, resumed.iter) == (3, 6)
    assert resumed.message_hub.get_info('best_score') == 0.5
    before, after = (r.message_hub.log_scalars['train/loss'].data[0] for r in (first, resumed))
    assert len(after) == 6
    np.testing.assert_array_equal(after[:4], before)

    best = next(tmp_path.glob('best_score_best_epoch_*.pth'))
    assert runner(tmp_path, 4, metric, load_from=str(best)).test() == {'score/best': 0.5}


@needs_weights_only
def test_checkpoints_hold_nothing_that_is_not_allowed(tmp_path):
    runner(tmp_path, 1, NumpyScores).train()
    assert torch.serialization.get_unsafe_globals_in_checkpoint(str(tmp_path / 'epoch_1.pth')) == []


@needs_weights_only
def test_history_of_another_numpy_is_read(tmp_path):
    path = tmp_path / 'buffer.pth'
    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    home = np.array(0).__reduce__()[0].__module__
    other = {'numpy._core.multiarray': 'numpy.core.multiarray', 'numpy.core.multiarray': 'numpy._core.multiarray'}[home]
    torch.save(buffer, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(f'c{home}\n'.encode(), f'c{other}\n'.encode()))
    assert f'c{other}\n'.encode() in path.read_bytes()
    loaded = torch.load(path)
    np.testing.assert_array_equal(loaded.data[0], [1.0, 2.0])
    assert loaded.mean() == 1.5


class Attack:
    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


@needs_weights_only
@pytest.mark.parametrize('payload', [Attack(), Path('/'), {'a': os.getcwd}], ids=['getattr', 'class', 'function'])
def test_anything_else_is_still_refused(tmp_path, payload):
    torch.save(payload, tmp_path / 'bad.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'bad.pth')


def test_attributes_a_checkpoint_may_read():
    assert compat._checkpoint_attribute(HistoryBuffer, 'mean') is HistoryBuffer.mean
    for owner, name in [(HistoryBuffer, '__class__'), (HistoryBuffer, 'update'), (torch, 'load'), ({}, 'get')]:
        with pytest.raises(pickle.UnpicklingError, match='Only these may be read'):
            compat._checkpoint_attribute(owner, name)


# -- the launcher on a machine without GPU ----------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason='repairs the launcher on machines without a GPU')
def test_launcher_without_gpu_uses_gloo(monkeypatch):
    from mmengine.dist import utils
    started = {}
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda **kwargs: started.update(kwargs))
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('LOCAL_RANK', '0')
    utils._init_dist_pytorch('nccl', timeout=5)
    assert started == dict(backend='gloo', timeout=5)
    with pytest.raises(ValueError, match="init_backend is 'deepspeed', which needs a GPU"):
        utils._init_dist_pytorch('nccl', init_backend='deepspeed')


@pytest.mark.skipif(torch.cuda.is_available(), reason='repairs the launcher on machines without a GPU')
@pytest.mark.parametrize('failed, group', [(False, 'ended'), (True, 'up')])
def test_process_group_ends_before_the_interpreter_unless_it_failed(failed, group, tmp_path):
    printed = python(f"""
        import atexit, sys
        import torch.distributed as dist
        # What is registered first runs last.
        atexit.register(lambda: print('up' if dist.is_initialized() else 'ended'))
        import mmdsts
        from mmengine.dist import utils
        utils._init_dist_pytorch('nccl', init_method='file://{tmp_path}/store', rank=0, world_size=1)
        print(dist.get_backend())
        if {failed}:
            sys.last_type = ValueError
    """)
    assert printed == ['gloo', group]


def test_launcher_is_left_alone_on_a_gpu(monkeypatch):
    import mmengine.device
    from mmengine.dist import utils
    monkeypatch.setattr(mmengine.device, 'get_device', lambda: 'cuda')
    stock = getattr(utils._init_dist_pytorch, '__wrapped__', utils._init_dist_pytorch)
    monkeypatch.setattr(utils, '_init_dist_pytorch', stock)
    assert compat.patch_cpu_launcher() is False
    assert utils._init_dist_pytorch is stock


# -- loaders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('options', [dict(persistent_workers=True), dict(prefetch_factor=4), dict(timeout=60),
                                     dict(multiprocessing_context='fork')], ids=lambda options: next(iter(options)))
@pytest.mark.parametrize('none', [dict(num_workers=0), {}], ids=['zero', 'left out'])
def test_options_about_workers_are_dropped_where_there_are_none(options, none):
    config = dict(dataset=Points(), batch_size=4, sampler=dict(type='DefaultSampler', shuffle=False), **options)
    loader = Runner.build_dataloader({**config, **none})
    assert len(list(loader)) == 2
    assert set(config) >= set(options)  # the config is left as it was
    kept = Runner.build_dataloader({**config, 'num_workers': 1})
    for name in options:
        assert getattr(kept, name), name


def test_declared_dependency():
    pytest.importorskip('importlib_metadata')
    try:
        declared = importlib.metadata.requires('mmdsts') or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip('mmdsts is not installed, only on the path')
    assert 'importlib_metadata' in declared
