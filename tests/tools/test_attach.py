"""Attaching by command: the file that is written, and arguments that do not fit."""

from __future__ import annotations

import pytest
from mmengine.config import Config

import mmdsts

from ..attachment.small_configs import slowonly
from .test_footage_tools import ROOT, run

ATTACH = ROOT / 'tools' / 'attach.py'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An own config in another format than Python's, in a folder with a space."""
    (tmp_path / 'my configs').mkdir()
    slowonly().dump(tmp_path / 'my configs' / 'mine.yaml')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_of_python_is_written_wherever_it_is_wanted(monkeypatch, folder):
    for out in ('dsts_mine.py', 'new/deep/a b.py'):
        given = [] if out == 'dsts_mine.py' else ['-o', out]
        assert run(monkeypatch, ATTACH, 'my configs/mine.yaml', '--neurons', 2, *given) == 0
        assert Config.fromfile(folder / out).model.neck.num_neurons == 2


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['-o', 'my configs'], '--out my configs is a folder, expected a file in it: my configs/NAME.py'),
        (['-o', 'x.yaml'], '--out x.yaml: what is written is Python, expected a name that ends in .py'),
        (['--layers', '0'], '--layers must be at least 1, got 0'),
        (['--max-share', '2'], '--max-share must be between 0 and 1, got 2.0'),
    ],
)
def test_arguments_that_do_not_fit(monkeypatch, capfd, folder, arguments, message):
    assert run(monkeypatch, ATTACH, 'my configs/mine.yaml', *arguments) == 2
    assert capfd.readouterr().err.splitlines()[-1] == f'attach.py: error: {message}'


def test_a_file_that_is_there_stays(monkeypatch, capfd, folder):
    (folder / 'dsts_mine.py').write_text('mine')
    assert run(monkeypatch, ATTACH, 'my configs/mine.yaml') == 2
    assert 'exists already' in capfd.readouterr().err
    assert (folder / 'dsts_mine.py').read_text() == 'mine'


def test_an_import_that_fails_is_said_in_one_line(monkeypatch, capfd, folder):
    (folder / 'bad.py').write_text("custom_imports = dict(imports='not_there')")
    assert run(monkeypatch, ATTACH, 'bad.py') == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith('attach.py')]
    assert 'ImportError' in line and 'not_there' in line and 'PYTHONPATH' in line


def test_a_config_that_no_file_can_inherit_by_base(monkeypatch, capfd, folder):
    slowonly().dump(folder / 'base.py')
    (folder / 'pure.py').write_text(
        'from mmengine.config import read_base\n\nwith read_base():\n    from .base import *\n'
    )
    assert run(monkeypatch, ATTACH, 'pure.py', '--neurons', 2) == 2
    assert 'cannot be read' in capfd.readouterr().err
    assert not (folder / 'dsts_pure.py').exists()
    assert mmdsts.attach('pure.py', num_neurons=2).model.neck.num_neurons == 2
