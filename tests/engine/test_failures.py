"""What ended a run, in one line."""

import errno

import pytest

from mmdsts.engine import failures
from mmdsts.engine.failures import explain


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (FloatingPointError('loss = nan'), 'loss = nan'),
        (
            OSError(errno.ENOSPC, 'No space left on device', 'w/scalars.json'),
            'w/scalars.json: No space left on device. Make room',
        ),
        (OSError(errno.EROFS, 'Read-only file system'), 'a file of the run cannot be written: Read-only file system.'),
        (
            RuntimeError('DataLoader worker (pid 712) is killed by signal: Killed. '),
            'a data worker (process 712) was killed by signal: Killed; a lack of memory',
        ),
        (
            RuntimeError('DataLoader worker (pid(s) 7, 9) exited unexpectedly'),
            'a data worker (process 7, 9) exited unexpectedly;',
        ),
    ],
)
def test_one_line_for_what_is_no_fault_of_the_program(error, line):
    assert explain(error).startswith(line)
    assert '\n' not in explain(error)


@pytest.mark.parametrize(
    'error',
    [
        RuntimeError('mat1 and mat2'),
        FileNotFoundError(errno.ENOENT, 'x'),
        KeyError('a'),
        RuntimeError('Connection closed by peer'),
    ],
)
def test_everything_else_keeps_its_traceback(error):
    assert explain(error) is None


def test_a_lost_process_is_told_from_a_lost_server(monkeypatch):
    monkeypatch.setattr(failures, 'get_world_size', lambda: 4)
    monkeypatch.setattr(failures, 'get_rank', lambda: 2)
    text = '[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:544] Connection closed by peer [127.0.0.1]:36912'
    assert explain(RuntimeError(text)).startswith('process 2 of 4 lost the connection to another process of this run')
