"""Write the set to disk: videos, annotation files in FineGym's format, and a manifest."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from mmengine.utils import track_parallel_progress, track_progress

from .elements import ELEMENTS, SETS
from .nuisance import Nuisance, sample_nuisance
from .render import render_clip

# Raise it whenever the same parameters give other frames or other files.
VERSION = 2
MANIFEST = 'toygym.json'
FPS = 10
SPLITS = ('train', 'val')


@dataclass(frozen=True)
class ToyGymSpec:
    """Everything that decides the content of the set.

    Args:
        train_clips (int): Training clips per class. Defaults to 40.
        val_clips (int): Held-out clips per class, with nuisances of their own. Defaults to 20.
        difficulty (float): 0 to 1, see :func:`sample_nuisance`. Defaults to 0.25.
        size (int): Height and width in pixels, a multiple of 32 because decord cannot decode other small widths.
            Defaults to 64.
        num_frames (int): Frames per clip, at 10 per second. Defaults to 20.
        seed (int): Defaults to 0.

    Raises:
        ValueError: If a value is out of its range.
    """

    train_clips: int = 40
    val_clips: int = 20
    difficulty: float = 0.25
    size: int = 64
    num_frames: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ('train_clips', 'val_clips'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}')
        if not 0 <= self.difficulty <= 1:
            raise ValueError(f'difficulty must lie between 0 and 1, got {self.difficulty}')
        if self.size < 64 or self.size % 32:
            raise ValueError(
                f'size must be a multiple of 32 and at least 64 (decord fails on other small widths), got {self.size}'
            )
        if self.num_frames < 16:
            raise ValueError(
                f'num_frames must be at least 16 (the window that a class is defined on), got {self.num_frames}'
            )
        if self.seed < 0:
            raise ValueError(f'seed must not be negative, got {self.seed}')

    def clips(self, split: str) -> int:
        """Clips per class of a split."""
        return getattr(self, f'{split}_clips')


def make_clip(spec: ToyGymSpec, split: str, label: int, index: int) -> np.ndarray:
    """RGB frames ``(num_frames, size, size, 3)`` of the clip ``index`` of a class, before encoding.

    Each clip has a generator of its own, so a clip depends neither on how many others are made nor on their order.
    """
    return render_clip(ELEMENTS[label], _draw_nuisance(spec, split, label, index), spec.num_frames, spec.size)


def read_nuisances(folder: str | Path) -> dict[str, Nuisance]:
    """What every clip of a set was drawn from, drawn again by the parameters of its manifest.

    Args:
        folder (str | Path): A folder that :func:`generate` has made.

    Returns:
        dict[str, Nuisance]: By the name of the clip.

    Raises:
        FileNotFoundError: If the folder holds no ToyGym set.
        ValueError: If the set was made by another version of this code, which drew other numbers.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f'{path} is not there: {folder} holds no ToyGym set')
    manifest = json.loads(path.read_text())
    spec = ToyGymSpec(**{field.name: manifest[field.name] for field in fields(ToyGymSpec) if field.name in manifest})
    if manifest != _manifest(spec):
        raise ValueError(
            f'{path} is of version {manifest.get("version")}, this code makes version {VERSION}; make the '
            f'set anew with: python tools/data/make_toygym.py --out {folder}'
        )
    return {name: _draw_nuisance(spec, *clip) for name, *clip in _plan(spec)[0]}


def _draw_nuisance(spec: ToyGymSpec, split: str, label: int, index: int) -> Nuisance:
    rng = np.random.default_rng([VERSION, spec.seed, SPLITS.index(split), label, index])
    return sample_nuisance(rng, spec.difficulty)


def generate(out: str | Path, spec: ToyGymSpec, workers: int = 2, overwrite: bool = False) -> bool:
    """Make the set in the folder ``out``, or keep it if it is there already.

    Everything is written to ``<out>.partial`` and renamed when it is complete, so an interrupted run leaves nothing
    that a later one could take for a data set.

    Args:
        out (str | Path): Target folder.
        spec (ToyGymSpec): What to make.
        workers (int): Processes that render. Defaults to 2.
        overwrite (bool): Replace a ToyGym set of other parameters. Defaults to False.

    Returns:
        bool: True if it was made, False if a complete set of the same parameters was there and was kept.

    Raises:
        FileExistsError: If ``out`` holds something else than a ToyGym set, or one of other parameters and
            ``overwrite`` is False.
        ValueError: If ``workers`` is less than 1.
    """
    if workers < 1:
        raise ValueError(f'workers must be at least 1, got {workers}')
    out = Path(out)
    if _check_existing(out, spec, overwrite):
        return False
    partial = out.with_name(out.name + '.partial')
    shutil.rmtree(partial, ignore_errors=True)
    (partial / 'videos').mkdir(parents=True)

    tasks, lists = _plan(spec)
    jobs = [(spec, partial / 'videos', tasks[start : start + 24]) for start in range(0, len(tasks), 24)]
    if workers == 1:
        track_progress(_write_clips, jobs)
    else:
        # One OpenCV thread a worker, set here: a forked process that sets it waits forever for the threads that
        # only its parent has. The workers leave Ctrl-C to this process, which then stops them.
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            track_parallel_progress(_write_clips, jobs, workers, initializer=_start_worker, initargs=())
        finally:
            cv2.setNumThreads(threads)
    for split, lines in lists.items():
        (partial / f'toygym_{split}.txt').write_text('\n'.join(lines) + '\n')
    (partial / 'toygym_categories.txt').write_text(
        ''.join(
            f'Clabel: {label:3d}; set: {e.set_id:2d}; Glabel: {label:3d}; {e.name}\n'
            for label, e in enumerate(ELEMENTS)
        )
    )
    (partial / 'toygym_set_categories.txt').write_text(''.join(f'set: {key}; {name}\n' for key, name in SETS.items()))
    (partial / MANIFEST).write_text(json.dumps(_manifest(spec), indent=2) + '\n')
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)
    return True


def _manifest(spec: ToyGymSpec) -> dict:
    return dict(name='ToyGym', version=VERSION, classes=len(ELEMENTS), **asdict(spec))


def _check_existing(out: Path, spec: ToyGymSpec, overwrite: bool) -> bool:
    """True if ``out`` is complete and as wanted, False if it may be (re)made; raises otherwise."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / MANIFEST).is_file():
        raise FileExistsError(
            f'{out} exists and is not a ToyGym set (no {MANIFEST} in it). Give another folder, or move this one away.'
        )
    manifest, found = _manifest(spec), json.loads((out / MANIFEST).read_text())
    if found == manifest:
        expected = {f'{name}.mp4' for name, *_ in _plan(spec)[0]}
        return expected <= {path.name for path in (out / 'videos').glob('*.mp4')} and all(
            (out / f'toygym_{name}.txt').is_file() for name in (*SPLITS, 'categories', 'set_categories')
        )
    differing = {
        key: f'{key}: {found.get(key)} there, {value} wanted'
        for key, value in manifest.items()
        if found.get(key) != value
    }
    # a set of the same parameters from an older version of this code is made again
    if not overwrite and not set(differing) <= {'version', 'classes'}:
        raise FileExistsError(
            f'{out} holds a ToyGym set of other parameters ({", ".join(differing.values())}). '
            'Give another folder, or overwrite it (--overwrite).'
        )
    return False


def _plan(spec: ToyGymSpec) -> tuple[list[tuple], dict]:
    """Clips as ``(name, split, label, index)``, and the lines of each split's annotation file."""
    tasks, lists = [], {split: [] for split in SPLITS}
    for split in SPLITS:
        for index in range(spec.clips(split)):
            for label in range(len(ELEMENTS)):
                # FineGym's scheme: 11 characters, event window, window of the element in the event, in seconds
                seconds = -(-spec.num_frames // FPS)
                name = f'ToyGym{len(tasks):05d}_E_000000_{seconds:06d}_A_0000_{seconds:04d}'
                tasks.append((name, split, label, index))
                lists[split].append(f'{name} {label}')
    return tasks, lists


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _write_clips(job: tuple) -> None:
    spec, folder, tasks = job
    for name, split, label, index in tasks:
        _write_video(folder / f'{name}.mp4', make_clip(spec, split, label, index))


def _write_video(path: Path, frames: np.ndarray) -> None:
    height, width = frames.shape[1:3]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), FPS, (width, height))
    if not writer.isOpened():
        raise RuntimeError(
            f'OpenCV cannot write MPEG-4 video to {path}: its build has no video writer for "mp4v". '
            'Install opencv-python from PyPI.'
        )
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))  # OpenCV wants BGR
    writer.release()
