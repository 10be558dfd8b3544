"""Each repair: it does its work, only where it is needed, and a second call changes nothing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from mmdsts import compat
from mmdsts.compat import packages

from .interpreter import python


def test_a_second_import_of_the_stack_changes_nothing():
    repairs = [
        compat.patch_missing_importlib_metadata,
        compat.patch_missing_drn,
        compat.patch_missing_pkg_resources,
        compat.patch_model_index,
        compat.patch_unloadable_torchvision,
        compat.patch_unloadable_multimodal,
        compat.patch_weights_only,
        compat.patch_cpu_launcher,
        compat.patch_chunked_testing,
        compat.patch_loader_without_workers,
        compat.patch_list_encodings,
        compat.patch_unpacked_sampling,
        compat.patch_broken_clips,
        compat.patch_evaluated_clips,
    ]
    assert [repair() for repair in repairs] == [False] * len(repairs)


def test_missing_stack_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *a: None if name == 'mmcv' else found(name, *a))
    with pytest.raises(ImportError, match=r'MMAction2 1\.x, but mmcv cannot be imported.*mmdsts\[standalone\]'):
        compat.require_stack()


def test_old_torch_is_named(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '1.13.1+cpu')
    with pytest.raises(ImportError, match=r'mmdsts needs torch >= 2\.0, found 1\.13\.1\+cpu'):
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


def fake_mmaction(folder, with_drn):
    """An installed MMAction2 with or without the folder, as far as ``find_spec`` sees it."""
    package = folder / 'mmaction'
    (package / 'models' / 'localizers' / ('drn' if with_drn else 'bmn')).mkdir(parents=True)
    (package / '__init__.py').touch()
    return importlib.util.spec_from_file_location(
        'mmaction', package / '__init__.py', submodule_search_locations=[str(package)]
    )


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


@pytest.mark.skipif(
    importlib.util.find_spec('mmaction.utils.dependency') is None, reason='MMAction2 1.0 and 1.1 do not import it'
)
def test_import_without_importlib_metadata():
    assert python(
        HIDE.format(name='importlib_metadata')
        + textwrap.dedent("""
        import mmdsts, mmaction.models
        from mmaction.utils import dependency
        print('importlib_metadata' in sys.modules, dependency.satisfy_requirement('torch>=1.0'),
              dependency.satisfy_requirement('no-such-package'))
        """)
    ) == ['False', 'True', 'False']


def test_mmengine_finds_packages_without_pkg_resources(tmp_path):
    (tmp_path / 'config.py').write_text("_base_ = 'mmaction::_base_/models/slowonly_r50.py'")
    assert python(
        HIDE.format(name='pkg_resources')
        + textwrap.dedent(f"""
        import mmdsts, mmaction, os
        from mmengine.config import Config
        from mmengine.utils import get_installed_path, is_installed
        print(is_installed('mmaction2'), is_installed('mmaction'), is_installed('no_such_package'),
              get_installed_path('mmaction2') == os.path.dirname(mmaction.__file__),
              Config.fromfile({str(tmp_path / 'config.py')!r}).model.backbone.type)
        """)
    ) == ['True', 'True', 'False', 'True', 'ResNet3dSlowOnly']


def test_unknown_package_without_pkg_resources():
    with pytest.raises(RuntimeError, match="Cannot tell where 'no_such_package' is installed"):
        packages._get_installed_path('no_such_package')


@pytest.mark.skipif(importlib.util.find_spec('pkg_resources') is None, reason='pkg_resources is not installed')
def test_pkg_resources_is_left_alone_where_it_exists():
    from mmengine.utils import package_utils

    assert package_utils.is_installed is not packages._is_installed


def test_declared_dependency():
    pytest.importorskip('importlib_metadata')
    try:
        declared = importlib.metadata.requires('mmdsts') or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip('mmdsts is not installed, only on the path')
    # Which of the two spellings is written is a matter of the setuptools that built it.
    assert 'importlib_metadata' in [name.replace('-', '_') for name in declared]
