"""Configs by the names ``mmaction::...``, which are looked up in a model index."""

from __future__ import annotations

import json

import mmaction
import mmengine.config.utils
import pytest
from mmengine.config.utils import _get_cfg_metainfo

from mmdsts import compat


@pytest.fixture
def package(tmp_path):
    """A package whose model index has a model of two configs, as that of MMAction2 1.1."""
    models = [dict(Name='bsn', Config=['configs/a.py', 'configs/b.py']), dict(Name='tsn', Config='configs/c.py')]
    (tmp_path / '.mim').mkdir()
    (tmp_path / '.mim' / 'model-index.yml').write_text('Import: [meta.yml]')
    (tmp_path / '.mim' / 'meta.yml').write_text(json.dumps(dict(Models=models)))
    return str(tmp_path)


@pytest.mark.parametrize(('name', 'model'), [('a.py', 'bsn'), ('b.py', 'bsn'), ('c.py', 'tsn')])
def test_each_config_of_a_model_is_found(monkeypatch, package, name, model):
    monkeypatch.setattr(mmaction, '__version__', '1.1.0')
    monkeypatch.setattr(mmengine.config.utils, 'load', mmengine.fileio.load)
    with pytest.raises(AttributeError):  # what is repaired
        _get_cfg_metainfo(package, name)
    assert [compat.patch_model_index() for _ in range(2)] == [True, False]
    assert _get_cfg_metainfo(package, name) == dict(Name=model, Config=f'configs/{name}')


def test_a_newer_mmaction_is_left_alone(monkeypatch):
    monkeypatch.setattr(mmaction, '__version__', '1.2.0')
    monkeypatch.setattr(mmengine.config.utils, 'load', mmengine.fileio.load)
    assert compat.patch_model_index() is False
