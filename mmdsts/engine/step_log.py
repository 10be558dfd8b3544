"""Time and peak memory of the parts of a training step."""

from __future__ import annotations

import sys
import time

import torch


class StepLog:
    """Measures the parts of a step on one device, from its creation on.

    On CUDA the times are taken with events, so that measuring does not make the host wait inside a step.

    Args:
        device: Where the work runs.
        memory: Whether to measure peak memory too, see ``log_memory`` of :class:`UDLOptions`.
    """

    def __init__(self, device: torch.device, memory: bool = False) -> None:
        self.device = device
        self.memory = memory
        self._marks: dict[str, tuple] = {}
        self._peaks: dict[str, float] = {}
        self._last = self._mark()
        if memory and device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats(device)

    def lap(self, name: str) -> None:
        """End a part: ``{name}_time`` (seconds) and ``{name}_memory`` (MB) since the last one ended."""
        mark = self._mark()
        self._marks[name] = (self._last, mark)
        self._last = mark
        if self.memory:
            self._peaks[name] = self._peak()

    def values(self) -> dict[str, float]:
        """What was measured, by the names to log it under. Waits for the device."""
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        times = {
            f'{name}_time': start.elapsed_time(end) / 1000 if self.device.type == 'cuda' else end - start
            for name, (start, end) in self._marks.items()
        }
        return {**times, **{f'{name}_memory': peak for name, peak in self._peaks.items()}}

    def _mark(self):
        if self.device.type != 'cuda':
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _peak(self) -> float:
        if self.device.type == 'cuda':
            peak = torch.cuda.max_memory_allocated(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            return peak / 2**20
        import resource  # not on Windows, and only needed here

        # Kilobytes on Linux, bytes on macOS.
        unit = 2**20 if sys.platform == 'darwin' else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
