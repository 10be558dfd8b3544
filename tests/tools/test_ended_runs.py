"""Processes that are ended from outside, by the tools as a user starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mmdsts.engine.checkpoint_files import find_resumable, read_checkpoint

from .tiny_run import write

TRAIN = Path(__file__).resolve().parents[2] / 'tools' / 'train.py'
#: Ends a test that hangs, no more: everything else waits for what it needs.
HANG = 600

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return write(tmp_path_factory.mktemp('run') / 'tiny')


@pytest.fixture
def start(config):
    """Starts trainings that do not end by themselves; what a failed test leaves of them ends with it."""
    started = []

    def start(work_dir, *args, launcher=(), max_epochs=10000):
        command = [
            sys.executable,
            *launcher,
            TRAIN,
            config,
            '--work-dir',
            work_dir,
            *args,
            '--cfg-options',
            f'train_cfg.max_epochs={max_epochs}',
            'param_scheduler=[]',
            'default_hooks.checkpoint.max_keep_ckpts=3',
        ]
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(os.environ, OMP_NUM_THREADS='1'),
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def wait_for(process, condition):
    """Wait for a condition; a process that has ended before is an error."""
    begin = time.monotonic()
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() - begin < HANG
        time.sleep(0.02)


def output(process):
    return process.communicate(timeout=HANG)[0]


def test_killed_run_resumes(start, tmp_path):
    process = start(tmp_path)
    wait_for(process, (tmp_path / 'epoch_2.pth').exists)
    process.kill()
    output(process)
    # The kill may have come after a later checkpoint: go on from whichever is the newest.
    reached = read_checkpoint(find_resumable([tmp_path]).path)['meta']['epoch']
    assert reached >= 2
    done = start(tmp_path, '--resume', max_epochs=reached + 1)
    text = output(done)
    assert done.returncode == 0, text
    assert f'resumed epoch: {reached}' in text
    assert torch.load(tmp_path / f'epoch_{reached + 1}.pth')['meta']['epoch'] == reached + 1


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_saves_and_says_how_to_go_on(start, tmp_path, number):
    process = start(tmp_path)
    wait_for(process, (tmp_path / 'epoch_1.pth').exists)
    os.kill(process.pid, number)
    text = output(process)
    assert process.returncode == 128 + number, text
    saved = find_resumable([tmp_path]).path
    meta = read_checkpoint(saved)['meta']
    assert f'Ended by {number.name}. Training is saved up to iteration {meta["iter"]} in {saved}: resume' in text
    assert 'Traceback' not in text


@pytest.mark.skipif(torch.cuda.is_available(), reason='two processes on the CPU')
def test_where_one_process_is_killed_the_others_end_and_say_so(start, tmp_path):
    process = start(
        tmp_path,
        '--launcher',
        'pytorch',
        launcher=('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2'),
    )
    wait_for(process, (tmp_path / 'epoch_1.pth').exists)
    ranks = {}
    for folder in Path('/proc').iterdir():
        if folder.name.isdigit():
            try:
                status, variables = (folder / 'stat').read_text(), (folder / 'environ').read_bytes()
            except OSError:  # it has ended since
                continue
            if int(status.rpartition(')')[2].split()[1]) == process.pid:
                ranks.update(
                    {int(entry[5:]): int(folder.name) for entry in variables.split(b'\0') if entry.startswith(b'RANK=')}
                )
    assert sorted(ranks) == [0, 1]
    begin = time.monotonic()
    os.kill(ranks[1], signal.SIGKILL)
    text = output(process)
    print(f'{time.monotonic() - begin:.1f} s until all had ended')
    assert process.returncode != 0
    assert not Path(f'/proc/{ranks[0]}').exists()
    assert 'Signal 9 (SIGKILL)' in text  # the launcher says who was killed
    found = find_resumable([tmp_path])
    assert found.path is not None
    assert not found.passed_over
