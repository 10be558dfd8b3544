"""A FineGym download: which clips are there, and cutting clips from videos (``tools/data/prepare_finegym.py``)."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Callable, NamedTuple

from mmengine.logging import print_log

from .finegym import identify_version, read_elements
from .text import read_text

#: Endings that video downloaders give.
VIDEO_SUFFIXES = ('.mp4', '.mkv', '.webm')


class Stock(NamedTuple):
    """What is there of a list.

    Attributes:
        ann_file: The list.
        version: See :func:`~mmdsts.datasets.finegym.identify_version`.
        present: Clips and labels that are there.
        missing: Those that are not.
    """

    ann_file: str
    version: str
    present: list
    missing: list

    @property
    def classes(self) -> int:
        """Classes of the list."""
        return len({label for _, label in self.present + self.missing})

    @property
    def clips_of_class(self) -> Counter:
        """Clips that are there, of each class that has one."""
        return Counter(label for _, label in self.present)


def take_stock(ann_file: str, clips: str, suffix: str = '.mp4', readable: Callable[[str], bool] | None = None) -> Stock:
    """Look for the clips of a list.

    Args:
        ann_file: An official list, see :func:`~mmdsts.datasets.finegym.read_elements`.
        clips: Folder of the clips; it need not exist.
        suffix: Ending of the files. Defaults to ``'.mp4'``.
        readable: Further test of a file by its path. Defaults to None: any file with content will do.

    Returns:
        What is there.

    Raises:
        ValueError: A line is malformed.
        FileNotFoundError: The list is not there.
    """
    elements = read_elements(ann_file)
    stock = Stock(ann_file, identify_version(ann_file, len(elements))[0], [], [])
    for clip, label in elements:
        path = Path(clips, clip + suffix)
        there = path.is_file() and path.stat().st_size > 0 and (readable is None or readable(str(path)))
        (stock.present if there else stock.missing).append((clip, label))
    return stock


def write_available(stock: Stock) -> str:
    """Write the clips that are there as a list of their own beside the original, ``NAME_available.txt``; its path."""
    path = Path(stock.ann_file)
    path = path.with_name(f'{path.stem}_available{path.suffix}')
    path.write_text(''.join(f'{clip} {label}\n' for clip, label in stock.present))
    return str(path)


def read_windows(info_file: str) -> dict[str, tuple[float, float]]:
    """Times of all elements from FineGym's temporal annotation.

    Args:
        info_file: ``finegym_annotation_info_v1.x.json``: videos, their events and in each event the ``segments`` with
            ``timestamps`` in seconds of the event, those of the event in seconds of the video.

    Returns:
        Name of a clip (``VIDEO_E_START_END_A_START_END``) to start and end in seconds of the video. Elements whose
        times contradict the whole seconds in their name (found where a frame rate was misread) are left out, with a
        log line.

    Raises:
        ValueError: The file has another form.
        FileNotFoundError: It is not there.
    """
    if not Path(info_file).is_file():
        raise FileNotFoundError(
            f'{info_file} is not there; it is the temporal annotation of FineGym, '
            'finegym_annotation_info_v1.1.json, at https://sdolivia.github.io/FineGym'
        )
    text, windows, contradictions = read_text(info_file), {}, 0
    try:
        for video, events in json.loads(text).items():
            for event, content in events.items():
                offset = content['timestamps'][0][0]
                for segment, parts in (content['segments'] or {}).items():
                    times = parts['timestamps']
                    window = offset + times[0][0], offset + times[-1][1]
                    if _fits_name(window, event, segment):
                        windows[f'{video}_{event}_{segment}'] = window
                    else:
                        contradictions += 1
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f'{info_file}: found another form ({type(error).__name__}: {error}) than that of the temporal '
            'annotation of FineGym, video -> event -> segments -> timestamps'
        ) from error
    if contradictions:
        print_log(
            f'{info_file}: the times of {contradictions} elements contradict their names; left out',
            logger='current',
            level=logging.WARNING,
        )
    return windows


def _fits_name(window: tuple[float, float], event: str, segment: str) -> bool:
    """Whether a window in seconds agrees with ``E_START_END`` and ``A_START_END``, two times rounded down."""
    event_start = int(event.split('_')[1])
    _, start, end = segment.split('_')
    return all(-1 < time - event_start - int(named) < 3 for time, named in zip(window, (start, end)))


def find_video(videos: str, clip: str) -> str | None:
    """The downloaded video that a clip is cut from: named by the first 11 characters of the clip."""
    return next(
        (str(path) for path in (Path(videos, clip[:11] + suffix) for suffix in VIDEO_SUFFIXES) if path.is_file()), None
    )


def cut_clip(video: str, window: tuple[float, float], out: str) -> None:
    """Cut a window out of a video with ffmpeg, re-encoded so that it starts exactly there, without sound.

    Args:
        video: The video.
        window: Start and end in seconds.
        out: The clip. It appears when it is complete: an interrupted cut leaves nothing under this name.

    Raises:
        FileNotFoundError: ffmpeg is not installed.
        RuntimeError: ffmpeg failed, with what it said.
    """
    ffmpeg = shutil.which('ffmpeg')
    if ffmpeg is None:
        raise FileNotFoundError('ffmpeg is not installed (not found on PATH); clips are cut with it')
    part = f'{out}.part{Path(out).suffix}'
    start, end = window
    command = [ffmpeg, '-nostdin', '-loglevel', 'error', '-y', '-ss', f'{start:.3f}', '-i', video]
    command += ['-t', f'{end - start:.3f}', '-an', '-c:v', 'libx264', '-crf', '20', part]
    done = subprocess.run(command, capture_output=True, text=True, errors='replace')
    if done.returncode or not Path(part).is_file():
        Path(part).unlink(missing_ok=True)
        raise RuntimeError(f'ffmpeg could not cut {start:.3f} to {end:.3f} s out of {video}: {done.stderr.strip()}')
    os.replace(part, out)
