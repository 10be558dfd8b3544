"""Types the commands of a page one after the other, in a folder of its own, at the smallest size."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from ..tools.test_footage_tools import run
from .pages import ROOT, commands

#: What is not typed, by how a command begins, and why.
NOT_RUN = {
    'git clone ': 'needs the address of the repository',
    'pip install ': 'would change the environment of these tests; tests/test_packaging.py builds what it installs',
    'mim ': "needs openmim, which is not among the requirements; tests/tools/test_train_test_cli.py runs MMAction2's "
    'tools, which it starts',
    'make ': 'is what starts the tests; tests/docs/test_commands.py runs what make demo calls, tests/docs/test_site.py '
    'builds the site',
    'python -m pytest ': 'is among these tests',
    'python -m tests.stress.kill_training ': 'takes minutes; tests/engine/test_checkpoint_hook.py and '
    'tests/tools/test_ended_runs.py kill at chosen moments',
    'python tools/ablate.py CONFIG --checkpoint BACKBONE.pth --seeds ': 'each training is a process; test_make_demo of '
    'tests/docs/test_commands.py runs the like',
    'python tools/benchmark.py ': 'takes minutes; tests/benchmarks/test_suites.py runs each suite at a small size',
    'python tools/train.py configs/slowonly_grid_digits.py ': 'needs clips that may not be given away',
    'python tools/ablate.py configs/dsts_grid_digits.py ': 'needs clips that may not be given away',
    'python tools/ablate.py configs/dsts_toygym_finetune.py --checkpoint toy/epoch_12.pth ': 'starts from a whole '
    'training; test_make_demo of tests/docs/test_commands.py runs the like',
}
if shutil.which('ffmpeg') is None:
    NOT_RUN['python tools/data/prepare_finegym.py --cut '] = (
        'needs ffmpeg; tests/datasets/test_finegym_clips.py has a stand-in for it'
    )

#: What stands for a word in capitals, for the one tool or for all, and for a held-out clip of the whole set.
WORDS = {
    'attach.py CONFIG': 'attach.py configs/slowonly_toygym.py',
    r'CONFIG\.py': 'configs/dsts_toygym.py',
    'CONFIG': 'configs/dsts_toygym.py',
    'CHECKPOINT': 'work_dirs/dsts_toygym/epoch_1.pth',
    r'IN\.pth': 'work_dirs/dsts_toygym/epoch_1.pth',
    'VIDEO': 'data/toygym/videos/ToyGym00096_E_000000_000002_A_0000_0002.mp4',
    'ToyGym00960_E_000000_000002_A_0000_0002.mp4': 'ToyGym00096_E_000000_000002_A_0000_0002.mp4',
    'GPUS': '1',
    'FOLDER_OR_TABLE': 'footage',
    'LIST_OR_CONFIG': 'data/footage/footage_slowonly_tiny.py',
    'SEED': '0',
    'PULSE': 'sum',
    'VALUE': 'True',
}

#: What makes a command small, by its beginning; the first that fits. The rest is what a reader types.
SMALLER = {
    'python tools/data/make_toygym.py ': '--clips-per-class 4 --val-clips-per-class 1 --workers 1',
    'python tools/data/prepare_videos.py ': '--epochs 1 --memory 1',
    'python tools/train.py data/footage/': '--seed 0',
    'python tools/train.py configs/dsts_finegym.py ': '--cfg-options load_from=None train_cfg.max_epochs=1 '
    'train_dataloader.batch_size=2 '
    'train_dataloader.num_workers=1 val_dataloader.num_workers=1 model.backbone.depth=18 '
    'model.backbone.base_channels=4 model.neck.in_channels=32 model.neck.hidden_channels=8 '
    'model.cls_head.in_channels=32',
    'python tools/analysis/specialization.py ': '--clips 1',
    'python tools/attach_zoo.py ': '--only c3d_',
    'python tools/ablate.py --control ': '--control train=96 test=9 --epochs 1 --seeds 1 --jobs 1',
    'python tools/ablate.py --help': '',
    'python tools/ablate.py ': '--seeds 1 --jobs 1 --variants dsts+udl',
}


def prepare(folder, toygym):
    """What is there before a reader begins: a clone, whose trainings on ToyGym have one epoch, and data."""
    shutil.copytree(ROOT / 'configs', folder / 'configs')
    for path in (folder / 'configs').rglob('*toygym*.py'):
        one = 'max_epochs=1, val_begin=1, val_interval=1'
        path.write_text(re.sub(r'max_epochs=max_epochs, val_begin=\w+, val_interval=\w+', one, path.read_text()))
    for name in ('tools', 'tests'):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(toygym, folder / 'data' / 'toygym')


def reason(command):
    """Why a command is not run; None for one that is."""
    return next((why for start, why in NOT_RUN.items() if f'{command} '.startswith(start)), None)


def small(command):
    """The command as it is typed here."""
    more = next((words for start, words in SMALLER.items() if f'{command} '.startswith(start)), '')
    if '--frozen' in command:
        more += ' --epochs 1'
    for word, there in WORDS.items():
        command = re.sub(rf'(?<![\w-]){word}(?![\w-])', there, command)
    return f'{command.split("  #")[0]} {more}'.strip()


def walk(page, monkeypatch, capfd):
    """Type the commands of a page in the working directory; each that was run, with what it printed."""
    monkeypatch.setattr(logging, 'disable', lambda level: None)  # it would outlive the tool
    monkeypatch.setenv('PATH', f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        monkeypatch.setenv('PORT', str(free.getsockname()[1]))
    said = []
    for command in filter(lambda command: reason(command) is None, commands(page)):
        status = type_in(small(command), monkeypatch)
        printed = ''.join(capfd.readouterr())
        assert status == 0, f'{page.name}: {command}\n{printed}'
        said.append((command, printed))
    return said


def type_in(command, monkeypatch):
    """Exit status of a command. Tools run in this process, which has imported everything already."""
    if not command.startswith('python tools/'):
        return subprocess.run(['bash', '-ec', command]).returncode
    words = [str(path) for word in shlex.split(command)[1:] for path in (sorted(Path().glob(word)) or [word])]
    return run(monkeypatch, ROOT / words[0], *words[1:])
