import threading
import time

import numpy as np
import pytest

from mmdsts.analysis.ablation.experiment import Failure, Job, RunError, exclusive, run_jobs
from mmdsts.analysis.ablation.store import Clips, Run, RunStore
from mmdsts.cli import UsageError

JOBS = [Job('dsts', seed, f'{seed}' * 64, None) for seed in range(5)]


def run(job):
    correct = np.arange(4) < job.seed
    return Run(job.variant, job.seed, correct.mean(), None, 7, 1.0, 0.1, None, job.key), Clips(correct, None, correct)


def fail_at_two(job):
    if job.seed == 2:
        raise ValueError('no such neck\nand more')
    if job.seed == 3:
        raise RunError('see train.log')
    return run(job)


@pytest.mark.parametrize('workers, processes', [(1, True), (1, False), (2, False)])
def test_a_failing_run_is_reported_and_the_others_are_kept(tmp_path, workers, processes):
    ended = {}
    failures = run_jobs(
        JOBS,
        RunStore(tmp_path),
        fail_at_two,
        workers=workers,
        processes=processes,
        on_end=lambda job, result: ended.update({job.seed: result}),
    )
    assert sorted(failure.reason for failure in failures) == ['no such neck and more', 'see train.log']
    assert sorted(ended) == [0, 1, 2, 3, 4]
    assert isinstance(ended[2], Failure)
    store = RunStore(tmp_path)
    assert [store.find(job.key) is not None for job in JOBS] == [True, True, False, False, True]
    assert store.find(JOBS[4].key).accuracy == 1
    assert store.clips(store.find(JOBS[1].key)).correct.tolist() == [True, False, False, False]


def test_as_many_runs_as_asked_for_are_side_by_side(tmp_path):
    barrier = threading.Barrier(2, timeout=20)

    def meet(job):
        barrier.wait()  # breaks, and fails the run, where nobody else comes
        return run(job)

    assert run_jobs(JOBS[:4], RunStore(tmp_path), meet, workers=2, processes=False) == []


@pytest.mark.parametrize('processes', [True, False])
def test_what_ended_before_an_interruption_is_kept(tmp_path, processes):
    def interrupt(job, result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(JOBS, RunStore(tmp_path), run, workers=1, processes=processes, on_end=interrupt)
    assert any(RunStore(tmp_path).find(job.key) for job in JOBS)


def test_processes_give_the_same(tmp_path):
    assert run_jobs(JOBS[1:3], RunStore(tmp_path), run, workers=2, processes=True) == []
    assert [RunStore(tmp_path).find(job.key).accuracy for job in JOBS[1:3]] == [0.25, 0.5]


def test_one_experiment_a_folder(tmp_path):
    with exclusive(tmp_path):
        with pytest.raises(UsageError, match=r'another experiment is running in it'):
            with exclusive(tmp_path):
                pass
    start = time.monotonic()
    with exclusive(tmp_path):
        assert time.monotonic() - start < 5
