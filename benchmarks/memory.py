"""Peak of the memory that a run allocates.

On a GPU the allocator keeps the figure. On a CPU the profiler records every allocation and release of PyTorch's
allocator (``torch.profiler`` with ``profile_memory=True``); the peak of their running sum is the figure, temporaries
inside operators included. Scratch space that libraries such as oneDNN take past PyTorch's allocator is not in it.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, Callable

import torch
from torch.profiler import ProfilerActivity, profile

# Or the profiler says on stderr when it starts and when it stops.
os.environ.setdefault('KINETO_LOG_LEVEL', '99')


def peak_memory(run: Callable[[], Any], device: str) -> int:
    """Peak of the memory allocated while ``run`` runs, above what was allocated before, in bytes.

    Args:
        run: What to run, once.
        device: ``'cpu'`` or ``'cuda'``.
    """
    if device == 'cuda':
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    # A trace without any rise of memory has been seen, rarely, of a run that allocates: it says nothing.
    return next((peak for peak in (_profiled_peak(run) for _ in range(3)) if peak), 0)


def _profiled_peak(run: Callable[[], Any]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / 'trace.json'
        recorded.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding='utf-8'))['traceEvents']
    changes = sorted(
        (
            (event['ts'], event['args']['Bytes'])
            for event in events
            if event.get('name') == '[memory]' and event['args']['Device Type'] == 0
        ),
        key=lambda change: change[0],  # in one microsecond: in the order of the trace
    )
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak
