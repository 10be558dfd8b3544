"""``python -m mmdsts``: tools of ours and of MMAction2, without a clone."""

from __future__ import annotations

import sys
from pathlib import Path

import mmaction
import pytest

from mmdsts.__main__ import find_tool, main

ROOT = Path(__file__).resolve().parents[1]
THEIRS = Path(mmaction.__file__).parent / '.mim' / 'tools'


@pytest.mark.parametrize(
    ('name', 'path'),
    [
        ('train', ROOT / 'tools' / 'train.py'),  # MMAction2 has one, too
        ('check_videos.py', ROOT / 'tools' / 'data' / 'check_videos.py'),
        ('analysis/confusion', ROOT / 'tools' / 'analysis' / 'confusion.py'),
        ('publish_model', THEIRS / 'deployment' / 'publish_model.py'),
        ('analysis_tools/check_videos', THEIRS / 'analysis_tools' / 'check_videos.py'),
        (str(THEIRS / 'train.py'), THEIRS / 'train.py'),
    ],
)
def test_a_tool_is_found_by_its_name(name, path):
    assert find_tool(name).resolve() == path.resolve()


def test_it_gets_its_own_command_line(monkeypatch, capsys, tmp_path):
    (tmp_path / 'show.py').write_text('import sys; print(__name__, sys.argv[1:])')
    monkeypatch.setattr(sys, 'argv', ['mmdsts', str(tmp_path / 'show.py'), '--seed', '3', '--help'])
    main()
    assert capsys.readouterr().out == "__main__ ['--seed', '3', '--help']\n"


def test_a_name_of_no_tool_is_said_plainly(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['mmdsts', 'trian', 'config.py'])
    with pytest.raises(SystemExit, match='^2$'):
        main()
    error = capsys.readouterr().err
    assert "argument tool: 'trian' is no file and no tool in" in error
    assert 'specialization, test, train' in error
