"""Time, memory and FLOPs of cases that are to be compared."""

from __future__ import annotations

import gc
import math
import timeit
from dataclasses import asdict, dataclass, field
from typing import Any, Callable, Sequence

import torch
from torch.utils.benchmark import Measurement, TaskSpec
from torch.utils.benchmark import timer as torch_clock

from .flops import count_flops
from .memory import peak_memory


@dataclass
class Settings:
    """How everything is measured.

    Args:
        device: ``'cpu'`` or ``'cuda'``.
        dtype: Type that operations run in; other than float32 by autocast, as in training. Defaults to float32.
        repeats: Rounds; each round times each case once, so that a change in the machine's speed hits all of
            them. Defaults to 7.
        block: Shortest time of one measurement, s; faster cases run several times in it. Defaults to 0.1.
    """

    device: str = 'cpu'
    dtype: torch.dtype = torch.float32
    repeats: int = 7
    block: float = 0.1

    @property
    def mixed(self) -> bool:
        """Whether operations run in another type than float32."""
        return self.dtype != torch.float32

    def autocast(self) -> torch.autocast:
        """Context in which operations run in ``dtype``."""
        return torch.autocast(self.device, self.dtype, enabled=self.mixed)


@dataclass
class Case:
    """Something to measure.

    Args:
        name: What it is.
        run: Runs it once; warms up on its first call.
        samples: Samples that one run processes, for those counted in samples a second. Defaults to None.
        note: What else the reader should know. Defaults to none.
        count: Whether memory and FLOPs are of interest. Defaults to True.
    """

    name: str
    run: Callable[[], Any]
    samples: int | None = None
    note: str = ''
    count: bool = True


@dataclass
class Row:
    """What was measured of one case.

    Args:
        suite: Suite it belongs to.
        name: The case.
        median: Median time of one run, s.
        iqr: Distance of the first and the third quartile, s.
        rounds: Number of measurements.
        memory: Peak of the memory allocated during one run, above what was allocated before, bytes.
        flops: Floating point operations of one run's convolutions and matrix products.
        rate: Samples a second.
        note: See :class:`Case`.
    """

    suite: str
    name: str
    median: float
    iqr: float
    rounds: int
    memory: int | None = None
    flops: int | None = None
    rate: float | None = None
    note: str = field(default='')

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def measure(
    suite: str, cases: Sequence[Case], settings: Settings, clock: Callable[[], float] = torch_clock
) -> list[Row]:
    """Measure cases side by side, the rounds interleaved.

    Args:
        suite: Name of the suite, for the rows.
        cases: Cases with different names.
        settings: See :class:`Settings`.
        clock: What tells the time, s. Defaults to torch's, which waits for the GPU.

    Returns:
        A row for each case, in their order.
    """
    # Not torch's Timer: that warms up twice before each measurement, which would
    # triple the time of a run whose cases take seconds.
    timers = [timeit.Timer(case.run, timer=clock) for case in cases]
    numbers = []
    for timer in timers:
        timer.timeit(1)  # warm-up
        numbers.append(max(1, math.ceil(settings.block / timer.timeit(1))))
    times: list[list[float]] = [[] for _ in cases]
    for _ in range(settings.repeats):
        for timer, number, found in zip(timers, numbers, times):
            found.append(timer.timeit(number))
    rows = []
    for case, number, found in zip(cases, numbers, times):
        measured = Measurement(number, found, TaskSpec(case.name, ''))
        row = Row(
            suite,
            case.name,
            measured.median,
            measured.iqr,
            len(found),
            note=case.note,
            rate=case.samples / measured.median if case.samples else None,
        )
        if case.count:
            _count(case.run, row, settings.device)
        rows.append(row)
    return rows


def _count(run: Callable[[], Any], row: Row, device: str) -> None:
    gc.collect()
    row.memory = peak_memory(run, device)
    try:
        row.flops = count_flops(run)
    except RuntimeError as error:
        # Counting looks at each operator, which forward-mode differentiation under autocast does not bear (torch 2.13).
        row.note += f' FLOPs not counted: {str(error).splitlines()[0][:60]}'


def ratio(rows: Sequence[Row], name: str, reference: str, of: str = 'median') -> float:
    """One case over another, by name.

    Raises:
        KeyError: If there is no case of that name.
    """
    values = {row.name: getattr(row, of) for row in rows}
    return values[name] / values[reference]
