"""Results of runs on disk: a line of a table each, and what each run said of every test clip."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mmdsts.evaluation.accuracy import best_of_set, rank_of_label


class Run(NamedTuple):
    """One training and its test.

    Attributes:
        variant: Name of the variant.
        seed: Its seed.
        accuracy: Share of the test clips that were classified correctly.
        within_set: Share of those whose class was the best of its set, as ``acc/within_set`` has it; ``None`` without
            sets.
        parameters: Trained values of the model (of neck and head with frozen features).
        seconds: Time of the training.
        loss: Mean training loss at the end.
        agreement: Mean over layers of the share of training samples that went where the test would send them, at the
            end; ``None`` where nothing is routed.
        key: Fingerprint of everything that the result depends on.
    """

    variant: str
    seed: int
    accuracy: float
    within_set: float | None
    parameters: int
    seconds: float
    loss: float | None
    agreement: float | None
    key: str


class Clips(NamedTuple):
    """What a run said of every test clip, each of shape ``(n,)``.

    Attributes:
        correct: Whether the class was right, bool.
        within: Whether it was the best of the clip's own set, bool; ``None`` without sets.
        predictions: The class, long.
    """

    correct: np.ndarray
    within: np.ndarray | None
    predictions: np.ndarray

    def accuracies(self) -> tuple[float, float | None]:
        """Shares of the clips that are right, altogether and in their set."""
        return float(self.correct.mean()), None if self.within is None else float(self.within.mean())


def judge(scores: np.ndarray, labels: np.ndarray, class_sets: np.ndarray | None) -> Clips:
    """What class scores say of test clips.

    Args:
        scores: Shape ``(n, K)``.
        labels: Shape ``(n,)``.
        class_sets: Set of each class, shape ``(K,)``; ``None`` without sets.
    """
    within = None if class_sets is None else best_of_set(scores, labels, class_sets)
    return Clips(rank_of_label(scores, labels) == 0, within, scores.argmax(axis=1))


class RunStore:
    """The runs in a folder: ``runs.csv``, to which each run that ends adds its line, and ``clips/``.

    Lines of runs that were made with other settings stay in the file and are not counted: each line says by its key
    what it belongs to.

    Args:
        folder: Made if it is not there.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        self.table = self.folder / 'runs.csv'
        (self.folder / 'clips').mkdir(parents=True, exist_ok=True)
        self._runs = {run.key: run for run in self._read() if self._clips_file(run).is_file()}

    def find(self, key: str) -> Run | None:
        """The run with this key, if it is complete."""
        return self._runs.get(key)

    def add(self, run: Run, clips: Clips) -> None:
        """Keep a run: first what it said, then its line, so that a line always has its clips."""
        content = {name: torch.from_numpy(value) for name, value in clips._asdict().items() if value is not None}
        save_whole(content, self._clips_file(run))
        torn = self.table.is_file() and not self.table.read_bytes().endswith(b'\n')
        new = not self.table.is_file() or not self.table.stat().st_size
        with open(self.table, 'a', newline='', encoding='utf-8') as file:
            if torn:
                file.write('\n')
            writer = csv.writer(file, lineterminator='\n')
            if new:
                writer.writerow(Run._fields)
            writer.writerow(['' if value is None else value for value in run])
        self._runs[run.key] = run

    def clips(self, run: Run) -> Clips:
        """What a run said of every test clip."""
        found = torch.load(self._clips_file(run), weights_only=True)
        return Clips(**{name: found[name].numpy() if name in found else None for name in Clips._fields})

    def _clips_file(self, run: Run) -> Path:
        return self.folder / 'clips' / f'{slug(run.variant)}-s{run.seed}-{run.key[:12]}.pt'

    def _read(self) -> list[Run]:
        if not self.table.is_file():
            return []
        with open(self.table, newline='', encoding='utf-8') as file:
            return [run for run in map(_parse, csv.DictReader(file)) if run is not None]


def save_whole(content: dict, path: Path) -> None:
    """Save tensors so that a file that is there is complete."""
    partial = path.with_suffix('.partial')
    torch.save(content, partial)
    os.replace(partial, path)


def slug(variant: str) -> str:
    """A name that a file may have."""
    return re.sub(r'[^\w.=+-]+', '_', variant)


def _parse(row: dict) -> Run | None:
    """A run, or ``None`` for a line that a killed process left unfinished."""

    def number(name: str) -> float | None:
        return float(row[name]) if row[name] else None

    try:
        return (
            Run(
                row['variant'],
                int(row['seed']),
                float(row['accuracy']),
                number('within_set'),
                int(row['parameters']),
                float(row['seconds']),
                number('loss'),
                number('agreement'),
                str(row['key']),
            )
            if row['key'] and len(row['key']) == 64
            else None
        )
    except (KeyError, TypeError, ValueError):
        return None
