"""What ended a run, in one line, where that is no fault of the program."""

from __future__ import annotations

import errno
import re

from mmengine.dist import get_rank, get_world_size

_NO_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_WORKER = re.compile(r'DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (is killed by signal: [\w ]+|exited unexpectedly)')
_PEER = re.compile(r'Connection (?:closed|reset) by peer|Connection closed|Broken pipe|NCCL.*(?:remote|abort)')
_RESUME = 'What was saved is kept; go on with --resume'


def explain(error: BaseException) -> str | None:
    """Say why a run ended, and what to do.

    Args:
        error: What it ended with.

    Returns:
        One line; ``None`` for an error that only its traceback explains.
    """
    text = str(error)
    if isinstance(error, FloatingPointError):
        return text
    if isinstance(error, OSError) and error.errno in _NO_WRITING:
        where = f'{error.filename}: ' if error.filename else 'a file of the run cannot be written: '
        return f'{where}{error.strerror}. Make room or give write access. {_RESUME}'
    worker = _WORKER.search(text)
    if isinstance(error, RuntimeError) and worker:
        what = worker.group(2).replace('is killed', 'was killed').strip()
        return (
            f'a data worker (process {worker.group(1)}) {what}; a lack of memory is the usual cause, then lower '
            f'num_workers or batch_size. {_RESUME}'
        )
    if isinstance(error, RuntimeError) and _PEER.search(text) and get_world_size() > 1:
        return (
            f'process {get_rank()} of {get_world_size()} lost the connection to another process of this run, which '
            f'has ended or was killed (its own output says why). {_RESUME}'
        )
    return None
