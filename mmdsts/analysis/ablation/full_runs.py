"""Runs of an experiment that train the whole recognizer, by the tools that a user would call."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, NamedTuple

import numpy as np
import torch
from mmaction.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmdsts.engine.checkpoint_files import find_resumable
from mmdsts.engine.update_config import plain
from mmdsts.evaluation.accuracy import fit_sets

from .configs import mistakes_named, require, run_config
from .experiment import Job, RunError, code_digest
from .extraction import describe_data, fingerprint
from .store import Clips, Run, judge, slug
from .variants import Variant

_SCORES = 'clip_scores.pt'


class FullTask(NamedTuple):
    """What a run of the whole recognizer needs.

    Attributes:
        config: Its config, as text.
        folder: Its work dir.
        tools: Folder of ``train.py`` and ``test.py``.
        class_sets: Set of each class, where the data has sets.
    """

    config: str
    folder: str
    tools: str
    class_sets: list | None


class Data(NamedTuple):
    """Fingerprint of training and test data, and the set of each class where there are sets."""

    key: str
    class_sets: list | None


def describe_experiment_data(cfg: Config) -> Data:
    """Read the lists of the training and the test set.

    Raises:
        UsageError: The config lacks what a training and a test need.
    """
    require(cfg, 'train_dataloader', 'test_dataloader', 'train_cfg', 'optim_wrapper')
    described, sets = [], None
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmaction'):
        for loader in (cfg.train_dataloader, cfg.test_dataloader):
            dataset_cfg = plain(loader['dataset'])
            with mistakes_named(cfg):
                dataset = DATASETS.build(dataset_cfg)
            described.append(describe_data(dataset_cfg, dataset))
            sets = dataset.metainfo.get('class_sets')
    return Data(fingerprint(described), sets)


def full_job(
    cfg: Config,
    variant: Variant,
    seed: int,
    checkpoint: str | None,
    start_key: str,
    data: Data,
    folder: Path,
    tools: Path,
) -> Job:
    """The run of a variant.

    Args:
        cfg: Config of the experiment.
        variant: The variant.
        seed: Its seed.
        checkpoint: Start of the training; ``None``: from scratch.
        start_key: Fingerprint of the checkpoint.
        data: Of :func:`describe_experiment_data`.
        folder: Folder of the experiment.
        tools: Folder of ``train.py`` and ``test.py``.
    """
    work_dir = (folder / 'runs' / f'{slug(variant.name)}-s{seed}').absolute()
    made = run_config(cfg, variant, checkpoint, str(work_dir / _SCORES))
    made.work_dir = None
    settings = plain(
        {
            name: value
            for name, value in made.to_dict().items()
            if name not in ('load_from', 'test_evaluator', 'work_dir')
        }
    )
    key = fingerprint('full', settings, seed, start_key, data.key, code_digest())
    task = FullTask(made.pretty_text, str(work_dir), str(tools), data.class_sets)
    return Job(variant.name, seed, key, task)


class FullRuns:
    """Makes runs, each by ``tools/train.py`` and ``tools/test.py`` in processes of their own.

    A training that was stopped goes on from its last checkpoint. One that a killed experiment left behind and that
    still runs holds a lock: it is waited for, not disturbed.
    """

    def __init__(self) -> None:
        self._processes: set[subprocess.Popen] = set()
        self._guard = threading.Lock()
        self._stopped = False

    def __call__(self, job: Job) -> tuple[Run, Clips]:
        """Make one run.

        Raises:
            RunError: Training or test ended with an error.
        """
        task: FullTask = job.task
        folder, config = Path(task.folder), self._train(job)
        self._call(job, 'test', config, _last_checkpoint(folder), '--work-dir', folder / 'test')
        found = torch.load(folder / _SCORES, weights_only=True)
        scores = found['scores'].numpy()
        sets = None if task.class_sets is None else fit_sets(task.class_sets, scores.shape[1])
        clips = judge(scores, found['labels'].numpy(), sets)
        log = read_log(folder)
        run = Run(
            job.variant,
            job.seed,
            *clips.accuracies(),
            _parameters(config),
            round(log['seconds'], 1),
            log['loss'],
            log['agreement'],
            job.key,
        )
        return run, clips

    def train(self, job: Job) -> str:
        """Train only; the last checkpoint."""
        self._train(job)
        return _last_checkpoint(Path(job.task.folder))

    def stop(self) -> None:
        """End all programs that run, and start no other."""
        with self._guard:
            self._stopped = True
            for process in self._processes:
                process.terminate()

    def _train(self, job: Job) -> Path:
        folder = Path(job.task.folder)
        # Not in the folder itself, where the runner writes the config with what its command line changed.
        key, config, done = folder / 'key.txt', folder / 'given' / 'config.py', folder / 'trained.txt'
        with self._hold(folder) as lock:
            others = [path for path in folder.iterdir() if path.name not in ('lock', key.name)]
            if others and not key.is_file():
                raise RunError(
                    f'{folder} holds files of something else ({others[0].name}); move them, or give another --work-dir'
                )
            if not key.is_file() or key.read_text() != job.key:
                # From here on the folder is ours, whatever interrupts.
                key.write_text('')
                for path in others:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                config.parent.mkdir()
                config.write_text(job.task.config)
                key.write_text(job.key)
            if not done.is_file():
                # MMEngine's automatic resuming forgets load_from, so only where there is something to resume.
                resume = ['--resume'] if _last_checkpoint(folder) else []
                self._call(
                    job, 'train', config, '--work-dir', folder, '--seed', job.seed, '--no-validate', *resume, lock=lock
                )
                done.write_text('')
        return config

    @contextmanager
    def _hold(self, folder: Path) -> Iterator[int]:
        """Hold a folder while something trains in it, also on behalf of a program that outlives this process."""
        import fcntl  # POSIX only

        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / 'lock', os.O_RDWR | os.O_CREAT)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self._check()
                    time.sleep(1)
            yield descriptor
        finally:
            # Closed, not unlocked: a program that still runs keeps it.
            os.close(descriptor)

    def _check(self) -> None:
        if self._stopped:
            raise RunError('stopped')

    def _call(self, job: Job, tool: str, *arguments, lock: int | None = None) -> None:
        log = Path(job.task.folder) / f'{tool}.log'
        command = [sys.executable, str(Path(job.task.tools) / f'{tool}.py'), *map(str, arguments)]
        # Threads that wait for each other make a busy machine slow.
        env = {**os.environ, 'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', '1')}
        with open(log, 'a', encoding='utf-8') as file:
            with self._guard:
                self._check()
                process = subprocess.Popen(
                    command,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    env=env,
                    pass_fds=() if lock is None else (lock,),
                )
                self._processes.add(process)
        status = process.wait()
        with self._guard:
            self._processes.discard(process)
        if status:
            lines = [line.strip() for line in log.read_text(errors='replace').splitlines() if line.strip()]
            raise RunError(
                f'tools/{tool}.py ended with status {status}: {lines[-1] if lines else "no output"} (see {log})'
            )


def read_log(folder: Path) -> dict:
    """What the newest log of a training says at its end: ``loss``, ``agreement`` (mean over layers), and ``seconds``,
    the mean time of a step times their number, whatever was waited for in between. ``None`` for what is not logged.
    """
    lines = []
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        lines += [json.loads(line) for line in path.read_text().splitlines() if line.startswith('{')]
    lines = [line for line in lines if 'loss' in line]
    if not lines:
        return dict(loss=None, agreement=None, seconds=float('nan'))
    agreement = [value for name, value in lines[-1].items() if name.startswith('agreement/')]
    times = [line['time'] for line in lines if 'time' in line]
    return dict(
        loss=lines[-1]['loss'],
        agreement=float(np.mean(agreement)) if agreement else None,
        seconds=float(np.mean(times)) * lines[-1].get('step', 0) if times else float('nan'),
    )


def _last_checkpoint(folder: Path) -> str | None:
    return find_resumable([folder]).path


def _parameters(config: Path) -> int:
    cfg = Config.fromfile(config)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmaction'):
        return sum(p.numel() for p in MODELS.build(cfg.model).parameters() if p.requires_grad)
