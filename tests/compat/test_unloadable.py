"""Packages that are installed but cannot be loaded break neither the import nor a training that needs none of them."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

import pytest

from mmdsts import compat

from .interpreter import python


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put packages, each of one file and with a version, before those that are installed."""
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')]))

    def write(name, version, code):
        (tmp_path / f'{name}-{version}.dist-info').mkdir()
        metadata = f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'
        (tmp_path / f'{name}-{version}.dist-info' / 'METADATA').write_text(metadata)
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').write_text(code)

    return write


def test_a_torchvision_of_another_build_is_as_none(install, tmp_path):
    install('torchvision', '0.1.2', "raise RuntimeError('operator torchvision::nms\\ndoes not exist')")
    install('timm', '1.0', 'import torchvision')
    printed = python(f"""
        import mmdsts
        from mmdsts.attachment import decide
        from mmdsts.errors import UsageError
        from mmengine.runner import Runner
        from tests.attachment.small_configs import clips, config
        from tests.engine.runs import run_config

        runner = Runner(**run_config({str(tmp_path / 'run')!r}, iters=1))
        runner.train()
        print(runner.iter)
        for kind in ('torchvision', 'timm'):
            loaders, head = clips(1, 3), dict(type='TSNHead', in_channels=512)
            try:
                decide(config(dict(type=kind + '.resnet18'), head, 'Recognizer2D', loaders=loaders))
            except UsageError as error:
                told = str(error)
                print(told.count('Please install ' + kind), told.count('torchvision 0.1.2 is installed, but cannot be'),
                      told.count('(RuntimeError: operator torchvision::nms does not exist)'), told.count('\\n'))
        """)
    assert printed[-9:] == '1 1 1 1 0 1 1 1 0'.split()  # the log comes before


@pytest.fixture
def torchvision(tmp_path, monkeypatch):
    """Import a torchvision of one file, as after the repair."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, 'meta_path', [f for f in sys.meta_path if type(f).__name__ != '_TorchvisionFinder'])
    for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
        monkeypatch.delitem(sys.modules, name)

    def load(code):
        (tmp_path / 'torchvision.py').write_text(code)
        assert [compat.patch_unloadable_torchvision() for _ in range(2)] == [True, False]
        try:
            return importlib.import_module('torchvision')
        finally:
            sys.modules.pop('torchvision', None)

    return load


def test_a_torchvision_that_loads_is_loaded_as_it_is(torchvision):
    module = torchvision('value = __name__')
    assert (module.value, module.__spec__.name) == ('torchvision', 'torchvision')


def test_what_torchvision_lacks_is_named(torchvision):
    with pytest.raises(ModuleNotFoundError) as told:
        torchvision('import not_there')
    assert told.value.name == 'not_there'


def test_without_torchvision_imports_stay_as_they_are(torchvision, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    before = list(sys.meta_path)
    assert compat.patch_unloadable_torchvision() is False
    assert sys.meta_path == before


@pytest.mark.skipif(importlib.util.find_spec('mmaction.models.multimodal') is None, reason='since MMAction2 1.2')
def test_multimodal_models_that_cannot_be_imported_are_left_out(install):
    install('transformers', '4.99.0', '')
    assert python("""
        import mmdsts
        from mmaction.registry import MODELS
        print(MODELS.get('Recognizer3D') is not None, MODELS.get('DSTSNeck') is not None)
        try:
            MODELS.get('VindLUVQA')()
        except ImportError as error:
            print('multi-modal' in str(error))
        """) == ['True', 'True', 'True']
