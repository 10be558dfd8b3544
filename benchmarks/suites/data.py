"""Decoded clips a second: the decoder alone, the pipeline around it, and loaders."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable

from mmaction.registry import DATASETS
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader

from mmdsts.toygym import ToyGymSpec, generate

from ..measure import Case, Settings, measure
from ..result import SuiteResult

CLIP_LEN, INTERVAL = 8, 2


@dataclass
class DataSizes:
    """The made-up videos and how they are read."""

    clips_per_class: int = 2
    size: int = 64
    threads: tuple = (1, 2, 4)
    workers: tuple = (0, 1, 2)


def run(settings: Settings, sizes: DataSizes | None = None) -> SuiteResult:
    """One pass over a small set of videos, made for the occasion.

    Args:
        settings: See :class:`Settings`.
        sizes: Defaults to None, clips of 64 x 64 pixels.
    """
    sizes = sizes or DataSizes()
    with TemporaryDirectory() as folder:
        root = Path(folder) / 'toygym'
        generate(root, ToyGymSpec(sizes.clips_per_class, 1, size=sizes.size), workers=1)
        files = sorted(map(str, root.glob('videos/**/*.mp4')))
        listing = root / 'files.txt'
        listing.write_text(''.join(f'{file} 0\n' for file in files), encoding='utf-8')
        datasets = {
            (threads, mode): _dataset(listing, threads, mode)
            for mode in ('accurate', 'efficient')
            for threads in sizes.threads
        }
        first = datasets[sizes.threads[0], 'accurate']
        runs: list[tuple[str, Callable[[], Any]]] = [
            (f'decoder alone, {threads} threads', _decoder(files, threads)) for threads in sizes.threads
        ]
        runs += [
            (f'pipeline, {threads} threads, mode={mode!r}', _pipeline(dataset))
            for (threads, mode), dataset in datasets.items()
        ]
        # Persistent workers: starting them is not what is asked for.
        loaders = {
            workers: DataLoader(
                first, batch_size=8, num_workers=workers, collate_fn=pseudo_collate, persistent_workers=workers > 0
            )
            for workers in sizes.workers
        }
        runs += [
            (f'loader, {workers} workers, {sizes.threads[0]} threads', _loader(loader))
            for workers, loader in loaders.items()
        ]
        cases = [
            Case(name, run_once, samples=len(files), note=f'{sizes.size}^2, {CLIP_LEN} frames', count=False)
            for name, run_once in runs
        ]
        return SuiteResult(measure('data', cases, settings), [])


def _dataset(listing: Path, threads: int, mode: str) -> Any:
    pipeline = [
        dict(type='DecordInit', num_threads=threads),
        dict(type='SampleFrames', clip_len=CLIP_LEN, frame_interval=INTERVAL, num_clips=1),
        dict(type='DecordDecode', mode=mode),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs'),
    ]
    with DefaultScope.overwrite_default_scope('mmaction'):
        return DATASETS.build(dict(type='VideoDataset', ann_file=str(listing), pipeline=pipeline))


def _decoder(files: list[str], threads: int) -> Callable[[], Any]:
    import decord

    def run_once() -> None:
        for file in files:
            reader = decord.VideoReader(io.BytesIO(Path(file).read_bytes()), num_threads=threads)
            reader.get_batch(list(range(0, CLIP_LEN * INTERVAL, INTERVAL))).asnumpy()

    return run_once


def _pipeline(dataset: Any) -> Callable[[], Any]:
    return lambda: [dataset[i] for i in range(len(dataset))]


def _loader(loader: DataLoader) -> Callable[[], Any]:
    return lambda: [None for _ in loader]
