"""Preparing and checking videos, by command; test_your_own_data.py goes on to an accuracy."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

from ..footage.videos import write_video

ROOT = Path(__file__).resolve().parents[2]
PREPARE = ROOT / 'tools' / 'data' / 'prepare_videos.py'
CHECK = ROOT / 'tools' / 'data' / 'check_videos.py'
CONFUSION = ROOT / 'tools' / 'analysis' / 'confusion.py'


def run(monkeypatch, tool, *args):
    """Run a tool in this process; returns its exit status."""
    monkeypatch.setattr(sys, 'argv', [str(tool), *map(str, args)])
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr(sys, 'last_type', None, raising=False)  # is set by an error, and restored
    for kind in (MMLogger, MessageHub, Visualizer):
        kind._instance_dict.clear()
    try:
        runpy.run_path(str(tool), run_name='__main__')
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Two classes with four people each, two clips a person."""
    folder = tmp_path_factory.mktemp('footage') / 'my videos'
    clips = [
        (label, f'p{person}', f'{i}.mp4') for label in ('jump', 'turn left') for person in range(4) for i in (0, 1)
    ]
    for seed, parts in enumerate(clips):
        write_video(folder.joinpath(*parts), seed=seed, frames=12)
    return folder


def test_a_folder_becomes_lists_and_a_config(monkeypatch, capfd, videos, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, PREPARE, videos, '--epochs', 1) == 0
    said = capfd.readouterr().out
    assert 'split by group: 4 groups, none of them on both sides' in said
    assert 'warning' not in said
    folder = tmp_path / 'data' / 'my_videos'
    people = [set(re.findall(r'/(p\d)/', (folder / f'{name}.csv').read_text())) for name in ('train', 'val')]
    assert [len(some) for some in people] == [3, 1] and not people[0] & people[1]
    assert (folder / 'label_map.txt').read_text() == 'jump\nturn left\n'

    config = folder / 'my_videos_slowonly_tiny.py'
    text = config.read_text()
    assert len(text.splitlines()) < 80 and 'Flip' not in text.replace('no Flip', '')  # "left" is in a name
    assert max(len(line) for line in text.splitlines() if str(ROOT) not in line and str(tmp_path) not in line) <= 120
    cfg = Config.fromfile(config)
    assert cfg.model.cls_head.num_classes == 2
    assert cfg.model.neck.in_channels == 64

    commands = [shlex.split(line) for line in said.splitlines() if line.startswith('  python ')]
    assert [Path(command[1]).name for command in commands] == ['check_videos.py', 'train.py', 'test.py']
    assert run(monkeypatch, CHECK, config, '--quick') == 0
    assert '16 videos: nothing is wrong' in capfd.readouterr().out

    # What is there is kept, unless it is to be replaced.
    before = config.read_text()
    assert run(monkeypatch, PREPARE, videos, '--epochs', 2) == 2
    assert '--overwrite to replace' in capfd.readouterr().err
    assert config.read_text() == before
    assert run(monkeypatch, PREPARE, videos, '--epochs', 2, '--overwrite', '--method', 'dsts+udl') == 0
    assert 'UDLEpochBasedTrainLoop' in config.read_text()


def test_a_table_with_windows_and_another_backbone(monkeypatch, capfd, videos, tmp_path):
    rows = [f'jump/p{p}/0.mp4,{"ab"[i]},{i / 2},{i / 2 + 0.5},p{p}' for p in range(4) for i in range(2)]
    (tmp_path / 'clips.csv').write_text('\n'.join(['path,label,start,end,group', *rows]))
    out = tmp_path / 'out'
    options = ('--backbone', 'x3d', '--clip-len', 2, '--size', 32, 32, '--memory', 1, '--method', 'backbone')
    assert run(monkeypatch, PREPARE, tmp_path / 'clips.csv', '--videos', videos, '--out', out, *options) == 0
    cfg = Config.fromfile(out / 'clips_x3d.py')
    assert cfg.model.backbone.type == 'X3D' and 'neck' not in cfg.model
    assert cfg.train_dataloader.dataset.pipeline[1].clip_len == 2
    assert (out / 'val.csv').read_text().splitlines()[0] == 'path,label,start,end,group'
    capfd.readouterr()
    assert run(monkeypatch, CHECK, out / 'clips_x3d.py', '--clip-len', 9, '--out', tmp_path / 'found.csv') == 1
    assert '8 findings' in capfd.readouterr().out
    assert (tmp_path / 'found.csv').read_text().count('short,') == 8


def test_checking_writes_lists_of_what_can_be_used(monkeypatch, capfd, videos, tmp_path):
    shutil.copytree(videos, tmp_path / 'videos')
    (tmp_path / 'videos' / 'jump' / 'p0' / '0.mp4').write_bytes(b'')
    (tmp_path / 'train.txt').write_text('jump/p0/0.mp4 0\njump/p1/0.mp4 0\n')
    (tmp_path / 'val.txt').write_text('jump/p0/1.mp4 1\n')
    args = (tmp_path / 'train.txt', tmp_path / 'val.txt', '--write')
    assert run(monkeypatch, CHECK, *args, '--num-classes', 2) == 1
    assert (tmp_path / 'train_checked.csv').read_text() == 'path,label\njump/p1/0.mp4,0\n'
    assert (tmp_path / 'val_checked.csv').read_text() == 'path,label\njump/p0/1.mp4,1\n'
    assert run(monkeypatch, CHECK, *args[:2], '--ignore', 'empty') == 0
    assert run(monkeypatch, CHECK, tmp_path / 'val.txt', '--num-classes', 1) == 1
    (tmp_path / 'lists').mkdir()
    moved = shutil.move(tmp_path / 'val.txt', tmp_path / 'lists')
    assert run(monkeypatch, CHECK, moved) == 2
    assert 'such as jump/p0/1.mp4; say with --videos at which folder its paths start' in capfd.readouterr().err
    assert run(monkeypatch, CHECK, moved, '--videos', tmp_path / 'videos') == 0


def test_predictions_of_other_clips_are_refused(monkeypatch, capfd, videos, tmp_path):
    assert run(monkeypatch, PREPARE, videos, '--out', tmp_path, '--epochs', 1) == 0
    metric = DumpResults(out_file_path=str(tmp_path / 'p.pkl'))
    for labels, message in (([0, 1], 'are of 2 clips and the test_dataloader of'), ([1, 0, 1, 0], 'with other labels')):
        metric.process(None, [dict(pred_score=torch.tensor([0.6, 0.4]), gt_label=torch.tensor([i])) for i in labels])
        metric.evaluate(len(labels))
        assert run(monkeypatch, CONFUSION, next(tmp_path.glob('*.py')), tmp_path / 'p.pkl') == 2
        assert message in capfd.readouterr().err
    labels = [0, 0, 1, 1]
    metric.process(None, [dict(pred_score=torch.tensor([0.6, 0.4]), gt_label=torch.tensor([i])) for i in labels])
    metric.evaluate(len(labels))
    assert run(monkeypatch, CONFUSION, next(tmp_path.glob('*.py')), tmp_path / 'p.pkl') == 0
    assert 'turn left > jump 2 of 2' in capfd.readouterr().out.splitlines()
    assert {path.name for path in (tmp_path / 'confusion').iterdir()} == {'confusion.png', 'classes.csv', 'pairs.png'}


@pytest.mark.parametrize(
    ('tool', 'args', 'message'),
    [
        (PREPARE, ['none'], 'none: no such folder or table'),
        (PREPARE, ['{videos}', '--backbone', 'no'], '--backbone no: no such file, and none of'),
        (PREPARE, ['{videos}', '--val-share', '1'], 'argument --val-share: 1.0 is not between 0 and 1'),
        (PREPARE, ['{videos}', '--jobs', '0'], 'argument --jobs: 0 is not positive'),
        (PREPARE, ['{videos}', '--pattern', '('], "--pattern '(': "),
        (PREPARE, ['{videos}', '--out', '{videos}/jump/p0/0.mp4'], '/jump/p0/0.mp4: no folder can be made there'),
        (CHECK, ['none.csv', '--out', '{videos}'], 'my videos: cannot be written'),  # before all is decoded
        (CHECK, ['x.csv', '--ignore', 'shrt'], "argument --ignore: 'shrt' is no kind of finding; expected some"),
        (CONFUSION, ['none.py', 'p.pkl'], 'config none.py: no such file'),
        (CONFUSION, ['none.py', 'p.pkl', '--pairs', '0'], 'argument --pairs: 0 is below 1'),
        (CHECK, ['none.csv'], 'none.csv: no such file'),
        (CHECK, [str(ROOT / 'docs' / 'none.json')], 'none.json: no such file'),
        (CHECK, ['none.py'], 'config none.py: no such file'),
        (
            CHECK,
            [str(ROOT / 'configs' / 'dsts_toygym.py')],
            'train_dataloader.dataset.ann_file: data/toygym/toygym_train.txt does not exist. Make it with: python',
        ),
        (CHECK, ['a.py', 'b.py'], 'a.py is a config, which names its lists; give it alone'),
        (CHECK, ['x.csv', '--clip-len', '0'], 'argument --clip-len: 0 is not positive'),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(monkeypatch, capfd, videos, tmp_path, tool, args, message):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, tool, *(arg.format(videos=videos) for arg in args)) == 2
    error = capfd.readouterr().err
    assert message in error.splitlines()[-1]
    assert 'Traceback' not in error
    assert list(tmp_path.iterdir()) == []
