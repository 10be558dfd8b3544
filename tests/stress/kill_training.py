"""Kill a small training at random moments, a hundred times, and see what is lost.

    python -m tests.stress.kill_training --kills 100

Not part of the tests, since it takes minutes. Every run is a process of its own that trains with UDL, validates and
saves a checkpoint and a best one every few iterations, and is ended by SIGKILL: half of the time at any moment of its
life, half within 30 ms of a checkpoint file being opened, renamed or noted. The next run resumes. A training that
reaches its end must have the weights, bit for bit, of one that nobody killed.

``--hook CheckpointHook`` does the same to MMEngine's own hook and resume.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Callable

import mmengine
import torch
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import mmdsts  # noqa: F401  its repairs come before any other import of MMAction2
from mmdsts.engine.checkpoint_files import CheckpointError, list_checkpoints, read_checkpoint
from tests.engine import test_checkpoint_hook as small

EPOCHS = 8
#: Values beside the weights, so that writing a checkpoint takes a while: 2 MB.
BALLAST = 500_000


KEYS = (
    'kills',
    'kills while a file was being written',
    'runs',
    'resumed',
    'resumed from the newest',
    'began from scratch',
    'could not go on',
    'lost',
    'broken files',
    'trainings that reached the end',
    'with the weights of an unbroken one',
)


class Report(Hook):
    """Note from which iteration a run goes on."""

    priority = 'VERY_LOW'

    def before_train(self, runner) -> None:
        """Write it where the parent looks."""
        Path(runner.work_dir, 'resumed').write_text(str(runner.iter))


def train(folder: Path, by_epoch: bool, hook: str) -> None:
    """What a run does: train, resuming, and leave its weights if it gets to the end."""
    init_default_scope('mmaction')
    # What MMEngine asks other programs for (versions of compilers, the commit) takes longer than the training.
    Runner._log_env = lambda self, env_cfg: None
    mmengine.runner.runner.get_git_hash = mmengine.hooks.runtime_info_hook.get_git_hash = lambda: ''
    checkpoint = dict(max_keep_ckpts=3)
    if hook != 'DurableCheckpointHook':
        checkpoint['type'] = hook
    runner = small.durable(folder, epochs=EPOCHS, by_epoch=by_epoch, resume=True, checkpoint=checkpoint)
    runner.model.register_buffer('ballast', torch.zeros(BALLAST))
    runner.register_hook(Report())
    runner.train()
    state = {name: value for name, value in runner.model.state_dict().items() if name != 'ballast'}
    torch.save(state, folder / 'weights.pt')


def start(folder: Path, by_epoch: bool, hook: str) -> int:
    """Start a run; importing everything once and forking saves the seconds that each import would take."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    try:
        log = os.open(folder / 'output.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        train(folder, by_epoch, hook)
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def ended(process: int) -> int | None:
    """Exit status, negative for a signal; ``None`` while the process runs."""
    done, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Names of checkpoints, whole and in the making, and of the note, with what tells a new one from an old one."""
    states = {}
    for entry in os.scandir(folder):
        if '.pth' in entry.name or entry.name.startswith('last_checkpoint'):
            try:
                states[entry.name] = (entry.stat().st_ino, entry.stat().st_mtime_ns)
            except FileNotFoundError:  # renamed or removed just now
                continue
    return states


def wait_for_a_moment(process: int, folder: Path, life: float) -> int | None:
    """Wait until the run shall be killed.

    Returns:
        Its exit status if it has ended by itself, else ``None``.
    """
    saving = random.random() < 0.5
    until = time.perf_counter() + random.uniform(0, life)
    skip = random.randrange(12)  # not always at the first file of a run
    before = files(folder)
    while True:
        status = ended(process)
        if status is not None:
            return status
        if saving:
            now = files(folder)
            if now != before:
                before = now
                skip -= 1
                if skip < 0:
                    time.sleep(random.uniform(0, 0.03))
                    return ended(process)
        elif time.perf_counter() > until:
            return None
        time.sleep(0.0002 if saving else 0.005)


def newest_iteration(folder: Path, count: Counter) -> int:
    """Iteration of the newest good checkpoint; what is broken is counted."""
    newest = 0
    for path in list_checkpoints([folder]):
        try:
            meta = read_checkpoint(path)['meta']
        except CheckpointError as error:
            count['broken files'] += 1
            print(f'  {error}')
            continue
        if not Path(path).name.startswith('best_'):
            newest = max(newest, meta['iter'])
    return newest


def stress(by_epoch: bool, kills: int, hook: str, root: Path, say: Callable[[str], None]) -> Counter:
    """Kill runs of one kind of loop."""
    count: Counter = Counter()
    whole = root / 'unbroken'
    whole.mkdir(parents=True)
    begin = time.perf_counter()
    if os.waitstatus_to_exitcode(os.waitpid(start(whole, by_epoch, hook), 0)[1]):
        raise RuntimeError((whole / 'output.txt').read_text())
    life = time.perf_counter() - begin
    expected = torch.load(whole / 'weights.pt')
    while count['kills'] < kills:
        count['trainings'] += 1
        folder = root / f'training {count["trainings"]}'
        folder.mkdir()
        newest, status = 0, None
        while status is None and count['kills'] < kills:
            (folder / 'resumed').unlink(missing_ok=True)
            process = start(folder, by_epoch, hook)
            status = wait_for_a_moment(process, folder, life / 2)
            if status is None:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                count['kills'] += 1
                count['kills while a file was being written'] += any(folder.glob('*.partial'))
            count['runs'] += 1
            resumed = folder / 'resumed'
            if newest and resumed.exists() and resumed.read_text():
                count['resumed'] += 1
                count['resumed from the newest'] += int(resumed.read_text()) == newest
                count['began from scratch'] += int(resumed.read_text()) == 0
            if status:
                count['could not go on'] += 1
                say(f'  could not go on: {(folder / "output.txt").read_text().strip().splitlines()[-1]}')
            after = newest_iteration(folder, count)
            count['lost'] += after < newest
            newest = after
        if status == 0:
            count['trainings that reached the end'] += 1
            weights = torch.load(folder / 'weights.pt')
            count['with the weights of an unbroken one'] += small.same(weights, expected)
        say(f'  {dict(count)}')
        shutil.rmtree(folder)
    return count


def main() -> None:
    """Kill both kinds of loop and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=100, help='for each kind of loop (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (default: %(default)s)')
    parser.add_argument('--hook', default='DurableCheckpointHook', help='checkpoint hook (default: %(default)s)')
    args = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(args.seed)
    begin, bad = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as root:
        for by_epoch, name in ((True, 'UDLEpochBasedTrainLoop'), (False, 'UDLIterBasedTrainLoop')):
            print(f'{name}, {args.hook}, seed {args.seed}', flush=True)
            count = stress(by_epoch, args.kills, args.hook, Path(root, name), lambda text: print(text, flush=True))
            for key in KEYS:
                print(f'{key:40} {count[key]}')
            bad += count['began from scratch'] + count['could not go on'] + count['lost'] + count['broken files']
            bad += count['resumed'] - count['resumed from the newest']
            bad += count['trainings that reached the end'] - count['with the weights of an unbroken one']
    minutes = (time.perf_counter() - begin) / 60
    print(f'{minutes:.1f} minutes; {"nothing was lost" if not bad else "SOMETHING WAS LOST"}')
    sys.exit(bool(bad))


if __name__ == '__main__':
    main()
