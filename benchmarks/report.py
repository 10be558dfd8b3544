"""Tables for people and JSON for programs."""

from __future__ import annotations

import platform
import time
from typing import Any, Sequence

import torch
from mmengine.fileio import dump
from rich.console import Console
from rich.table import Table

from mmdsts.version import __version__

from .goals import Goal
from .measure import Row, Settings


def machine(settings: Settings) -> dict[str, Any]:
    """What the figures depend on."""
    gpu = torch.cuda.get_device_name() if settings.device == 'cuda' else None
    return dict(
        device=gpu or f'{platform.machine()} CPU, {_cpu_capability()}',
        threads=torch.get_num_threads(),
        dtype=str(settings.dtype).split('.')[1],
        torch=torch.__version__,
        mmdsts=__version__,
        repeats=settings.repeats,
        time=time.strftime('%Y-%m-%d %H:%M:%S'),
    )


def _cpu_capability() -> str:
    return torch.backends.cpu.get_cpu_capability() if hasattr(torch.backends, 'cpu') else 'unknown instructions'


def console() -> Console:
    """Wide enough for the tables also where the output is a file."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=160)


def show_rows(suite: str, rows: Sequence[Row], seconds: float) -> None:
    """Print the table of one suite."""
    table = Table(title=f'{suite} ({seconds:.0f} s)', title_justify='left')
    table.add_column('case')
    for name in ('median ms', 'IQR ms', 'peak MiB', 'GFLOP', 'samples/s'):
        table.add_column(name, justify='right')
    table.add_column('note')
    for row in rows:
        table.add_row(
            row.name,
            _figure(row.median * 1e3),
            _figure(row.iqr * 1e3),
            _figure(row.memory and row.memory / 2**20),
            _figure(row.flops and row.flops / 1e9),
            _figure(row.rate),
            row.note,
        )
    console().print(table)


def show_goals(goals: Sequence[Goal]) -> None:
    """Print each goal beside what was measured."""
    table = Table(title='goals', title_justify='left')
    table.add_column('what')
    table.add_column('goal')
    table.add_column('measured', justify='right')
    table.add_column('')
    for goal in goals:
        values = goal.as_dict()
        table.add_row(goal.what, values['goal'], f'{goal.measured:.2f}', 'met' if goal.met else 'missed')
    console().print(table)


def write_json(path: str, settings: Settings, rows: Sequence[Row], goals: Sequence[Goal]) -> None:
    """Write everything: times in s, memory in bytes, ``flops`` in operations."""
    dump(
        dict(machine=machine(settings), rows=[row.as_dict() for row in rows], goals=[goal.as_dict() for goal in goals]),
        path,
        indent=2,
    )


def _figure(value: float | None) -> str:
    if value is None:
        return ''
    return f'{value:.0f}' if value >= 100 else f'{value:.3g}'
