"""The commands of docs/your-own-data.md, run at the smallest size, and what its text says of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .pages import ROOT, commands
from .walk import walk

PAGE = ROOT / 'docs' / 'your-own-data.md'


@pytest.mark.slow
@pytest.mark.new_neurons
def test_from_footage_to_an_accuracy(monkeypatch, capfd, tmp_path):
    (tmp_path / 'tools').symlink_to(ROOT / 'tools')
    monkeypatch.chdir(tmp_path)
    said = {}
    for command, printed in walk(PAGE, monkeypatch, capfd):
        if command.startswith('python '):
            said.setdefault(Path(command.split()[1]).name, printed)
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
    next_typed = [command for command in commands(PAGE) if re.match(r'python tools/(data/check|train|test)', command)]
    for told, command in zip(printed, next_typed):
        assert command.startswith(told.replace(f'{ROOT}/tools', 'tools'))
    assert len(printed) == len(next_typed) == 3
