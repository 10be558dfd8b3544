"""The commands of docs/your-own-data.md, run as they stand there at the smallest size."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ..tools.test_footage_tools import run
from .pages import ROOT, blocks

BLOCKS = blocks(ROOT / 'docs' / 'your-own-data.md', 'bash')
# What makes it small. The rest is what a reader types.
SMALLER = {
    'make_toygym.py': ['--clips-per-class', '4', '--workers', '1'],
    'prepare_videos.py': ['--epochs', '1', '--memory', '1'],
    'train.py': ['--seed', '0'],
}


def commands(block):
    """Its commands, each of one line but for shell loops and groups."""
    command = ''
    for line in block.splitlines():
        command += line + '\n'
        # Complete: the shell would not wait for more.
        if subprocess.run(['bash', '-n', '-c', command], capture_output=True).returncode == 0:
            yield command.strip()
            command = ''
    assert not command


@pytest.mark.slow
def test_from_footage_to_an_accuracy(monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PATH', f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')
    typed = [command for block in BLOCKS for command in commands(block)]
    said = {}
    for command in typed:
        if not command.startswith('python '):
            assert subprocess.run(['bash', '-ec', command]).returncode == 0
            continue
        args = [str(path) for arg in shlex.split(command)[1:] for path in (sorted(Path().glob(arg)) or [arg])]
        tool = Path(args[0]).name
        assert run(monkeypatch, ROOT / args[0], *args[1:], *SMALLER.get(tool, [])) == 0, capfd.readouterr().err
        said.setdefault(tool, ''.join(capfd.readouterr()))
    assert set(said) == {
        'make_toygym.py', 'prepare_videos.py', 'check_videos.py', 'train.py', 'test.py', 'confusion.py',
    }  # fmt: skip
    # What the text says of them.
    assert 'warning: no groups are known, so the split is random' in said['prepare_videos.py']
    assert 'nothing is wrong' in said['check_videos.py']
    assert 'acc/mean1' in said['train.py'] and 'acc/top1' in said['test.py']
    assert {path.name for path in Path('data', 'footage').iterdir()} == {
        'train.csv', 'val.csv', 'label_map.txt', 'footage_slowonly_tiny.py',
    }  # fmt: skip
    assert len(Path('data', 'footage', 'footage_slowonly_tiny.py').read_text().splitlines()) < 80
    assert 'day1' in Path('data', 'windows', 'train.csv').read_text() + Path('data', 'windows', 'val.csv').read_text()
    assert Path('confusion', 'confusion.png').is_file() and Path('classes.csv').is_file()
    # The commands that it prints are those that come next.
    printed = [line.strip() for line in said['prepare_videos.py'].splitlines() if line.startswith('  python ')]
    next_typed = [command for command in typed if re.match(r'python tools/(data/check|train|test)', command)]
    for told, command in zip(printed, next_typed):
        assert command.startswith(told.replace(f'{ROOT}/tools', 'tools'))
    assert len(printed) == len(next_typed) == 3
