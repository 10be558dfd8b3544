"""The data sets inside wrappers such as ``RepeatDataset`` and ``ConcatDataset``."""

from __future__ import annotations

from typing import Any, Iterator

from mmengine.dataset import BaseDataset


def parts(dataset: Any) -> Iterator[BaseDataset]:
    """Each data set that reads a list of its own, in their order; nothing for a data set that is not MMEngine's."""
    if isinstance(dataset, BaseDataset):
        yield dataset
        return
    for part in [*getattr(dataset, 'datasets', ()), *([dataset.dataset] if hasattr(dataset, 'dataset') else [])]:
        yield from parts(part)


def never_replace(dataset: Any) -> None:
    """Let a data set raise where a clip cannot be loaded, instead of taking another, as MMEngine's do in training."""
    for part in parts(dataset):
        part.test_mode = True
