"""Every command of the documentation runs, in the order of its page, or there is a reason why it is not run here."""

from __future__ import annotations

import re
import runpy
import sys

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config

from ..attachment.small_configs import WIDE
from ..footage.videos import write_video
from . import walk as walking
from .pages import PAGES, ROOT, commands

# your-own-data.md has a file of tests of its own, which says more of it.
WALKED = [
    page
    for page in PAGES
    if page.name != 'your-own-data.md' and any(walking.reason(command) is None for command in commands(page))
]


@pytest.fixture
def folder(tmp_path, toygym, monkeypatch):
    """A clone with data and an environment, where a reader stands."""
    walking.prepare(tmp_path, toygym)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of_readme(folder):
    WIDE.dump(folder / 'my_config.py')
    for i, video in enumerate(sorted((folder / 'data' / 'toygym' / 'videos').glob('*.mp4'))[:12]):
        target = folder / 'footage' / f'element {i % 2}' / video.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(video.read_bytes())


def of_finegym(folder):
    """Two videos of twelve seconds with four elements of two seconds each."""
    root, lists = folder / 'data' / 'finegym', folder / 'data' / 'finegym' / 'annotations'
    lists.mkdir(parents=True)
    for seed, (name, split) in enumerate(dict(madeUpVid01='train_element_v1.1', madeUpVid02='val_element').items()):
        write_video(root / 'videos' / f'{name}.mp4', seed, frames=120)
        windows = [
            f'{name}_E_000000_000011_A_{start:04d}_{start + 2:04d} {i}\n' for i, start in enumerate((1, 3, 5, 7))
        ]
        (lists / f'gym99_{split}.txt').write_text(''.join(windows))
    names = [f'Clabel: {i}; set: 1; Glabel: {i}; element {i}\n' for i in range(99)]
    (lists / 'gym99_categories.txt').write_text(''.join(names))
    (lists / 'set_categories.txt').write_text('set: 1; all\n')


def of_ablation(folder):
    """A backbone with weights."""
    cfg = Config.fromfile('configs/slowonly_toygym.py')
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), folder / 'BACKBONE.pth')


SCENES = {'README.md': of_readme, 'ablation.md': of_ablation, 'attach.md': of_readme, 'finegym.md': of_finegym}


@pytest.mark.slow
@pytest.mark.new_neurons
@pytest.mark.parametrize('page', WALKED, ids=lambda page: page.name)
def test_commands_of_a_page_run_one_after_the_other(page, folder, monkeypatch, capfd):
    SCENES.get(page.name, lambda folder: None)(folder)
    said = walking.walk(page, monkeypatch, capfd)
    assert said and not any('Traceback' in printed for _, printed in said)


@pytest.mark.slow
@pytest.mark.new_neurons
def test_make_demo(folder, monkeypatch, capfd):
    makefile = (ROOT / 'Makefile').read_text()
    assert re.search(
        r'^demo:.*\n\t.*make_toygym\.py --out data/toygym\n\t.*python tools/run_demo\.py\n', makefile, re.M
    )
    main = runpy.run_path(str(ROOT / 'tools' / 'run_demo.py'), run_name='run_demo')['main']

    def call(tool, *words):
        command = ' '.join(['python', f'tools/{tool}', *map(str, words)])
        assert walking.type_in(walking.small(command), monkeypatch) == 0

    monkeypatch.setitem(main.__globals__, 'ROOT', folder)
    monkeypatch.setitem(main.__globals__, 'call', call)
    monkeypatch.setattr(sys, 'argv', ['run_demo.py'])
    main()
    printed = capfd.readouterr().out
    assert printed.count('| DSTS') >= 2
    # What it says comes next.
    for command in re.findall(r'^  (python tools/.*)$', printed, flags=re.M):
        assert walking.type_in(walking.small(command), monkeypatch) == 0, capfd.readouterr()


def test_what_is_not_run_is_on_a_page_for_a_reason_that_holds():
    everything = [f'{command} ' for page in PAGES for command in commands(page)]
    for start, why in walking.NOT_RUN.items():
        assert any(command.startswith(start) for command in everything), f'no page has {start!r}'
        assert all((ROOT / path).is_file() for path in re.findall(r'tests/[\w/]+\.py', why))
    for start in walking.SMALLER:
        assert any(command.startswith(start) for command in everything), f'no page has {start!r}'
