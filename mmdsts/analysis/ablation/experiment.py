"""Runs of an experiment, several side by side: what is done already is kept, what fails does not stop the others."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple, Sequence

import torch

import mmdsts
from mmdsts.errors import UsageError, one_line

from .store import Clips, Run, RunStore


class Job(NamedTuple):
    """A run to be made.

    Attributes:
        variant: Name of the variant.
        seed: Its seed.
        key: Fingerprint of everything that the result depends on.
        task: What the function that runs it needs beside; must be picklable.
    """

    variant: str
    seed: int
    key: str
    task: Any


class Failure(NamedTuple):
    """A run that ended without a result, and why, in one line."""

    job: Job
    reason: str


class RunError(Exception):
    """A run failed; the message says why and where to look."""


def run_jobs(
    jobs: Sequence[Job],
    store: RunStore,
    function: Callable[[Job], tuple[Run, Clips]],
    *,
    workers: int,
    processes: bool,
    on_end: Callable[[Job, Run | Failure], None] = lambda job, result: None,
) -> list[Failure]:
    """Make runs; each is kept as soon as it ends.

    Args:
        jobs: The runs, in the order in which they should be started.
        store: Where results are kept.
        function: Makes one run; with ``processes`` a function at the top level of a module.
        workers: How many side by side.
        processes: Whether ``function`` computes, so that several of it need processes of their own; where it waits for
            a program, threads do.
        on_end: Called as runs end, in any order. Defaults to doing nothing.

    Returns:
        What failed.
    """
    failures = []
    with closing(_outcomes(jobs, function, workers, processes)) as outcomes:
        for job, outcome in outcomes:
            if isinstance(outcome, BaseException):
                result: Run | Failure = Failure(job, _reason(outcome))
                failures.append(result)
            else:
                result, clips = outcome
                store.add(result, clips)
            on_end(job, result)
    return failures


def _outcomes(
    jobs: Sequence[Job], function: Callable[[Job], Any], workers: int, processes: bool
) -> Iterator[tuple[Job, Any]]:
    """What the function returned or raised for each job, as they end."""
    if processes and workers == 1:
        for job in jobs:
            try:
                outcome = function(job)
            except Exception as error:  # whatever it is, it is the end of this run alone
                outcome = error
            yield job, outcome
        return
    with _executor(min(workers, max(1, len(jobs))), processes) as executor:
        futures: dict[Future, Job] = {executor.submit(function, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.exception() or future.result()
        finally:
            for future in futures:
                future.cancel()


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder of an experiment.

    Raises:
        UsageError: Another process does.
    """
    import fcntl  # POSIX only

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / 'lock', 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f'{folder}: another experiment is running in it; wait for it, or give another --work-dir'
            ) from None
        yield


@lru_cache(maxsize=None)
def code_digest() -> str:
    """Fingerprint of the code that trains: results of other code are not mixed with those of this one."""
    root = Path(mmdsts.__file__).parent
    files = [path for part in ('models', 'engine') for path in (root / part).rglob('*.py')]
    files += [root / 'analysis' / 'ablation' / f'{name}.py' for name in ('frozen', 'restricted', 'two_operators')]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, RunError) else one_line(error)


@contextmanager
def _executor(workers: int, processes: bool) -> Iterator[Executor]:
    if not processes:
        executor: Executor = ThreadPoolExecutor(workers)
    else:
        # Spawned: a forked process that computes may wait forever for threads that only its parent has.
        executor = ProcessPoolExecutor(
            workers, mp_context=multiprocessing.get_context('spawn'), initializer=_start_worker, initargs=(os.getpid(),)
        )
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False)
        for process in multiprocessing.active_children() if processes else ():
            process.terminate()
        raise
    executor.shutdown()


def _start_worker(parent: int) -> None:
    # The terminal sends Ctrl-C to every process: workers end at once, and their parent says so.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A killed parent ends no executor's workers: they look after it themselves."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
