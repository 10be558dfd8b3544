"""A FineGym download: what of a list is there, and cutting clips (``tools/data/prepare_finegym.py``)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Callable, NamedTuple

from .finegym import identify_version, read_elements
from .finegym_files import FineGymFile, FineGymFiles

_EVEN_SIZE = 'crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0'  # x264 refuses odd sizes, which VP9 has


class Stock(NamedTuple):
    """What is there of a list.

    Attributes:
        ann_file: The list.
        version: See :func:`~mmdsts.datasets.finegym.identify_version`.
        present: Clips and labels that are there, in files of their own or in longer ones.
        missing: Those that are not.
        files: Where those that are there are, by name.
    """

    ann_file: str
    version: str
    present: list
    missing: list
    files: dict

    @property
    def classes(self) -> int:
        """Classes of the list."""
        return len({label for _, label in self.present + self.missing})

    @property
    def clips_of_class(self) -> Counter:
        """Clips that are there, of each class that has one."""
        return Counter(label for _, label in self.present)

    @property
    def all_of_class(self) -> Counter:
        """Clips of the list, there or not, of each class."""
        return Counter(label for _, label in self.present + self.missing)


def take_stock(
    ann_file: str,
    clips: str | list[FineGymFiles],
    suffix: str = '.mp4',
    readable: Callable[[str], bool] | None = None,
) -> Stock:
    """Look for the clips of a list.

    Args:
        ann_file: An official list, see :func:`~mmdsts.datasets.finegym.read_elements`.
        clips: Folder of the clips, which need not exist; or what was found in some folders, the first to be asked
            first.
        suffix: Ending of the files that are taken first. Defaults to ``'.mp4'``.
        readable: Further test of a clip's own file by its path. Defaults to None: any file with content will do.

    Returns:
        What is there.

    Raises:
        ValueError: A line is malformed.
        FileNotFoundError: The list is not there.
    """
    elements = read_elements(ann_file)
    if isinstance(clips, str):
        clips = [FineGymFiles(clips, suffix)] if Path(clips).is_dir() else []
    stock = Stock(ann_file, identify_version(ann_file, len(elements))[0], [], [], {})
    for clip, label in elements:
        found: list[FineGymFile] = [file for file in (files.find(clip) for files in clips) if file]
        if readable is not None:
            found = [file for file in found if file.kind != 'clip' or readable(file.path)]
        if found:
            # Its own file before a longer one, wherever they are.
            stock.files[clip] = min(found, key=lambda file: ('clip', 'event', 'video').index(file.kind))
        (stock.present if found else stock.missing).append((clip, label))
    return stock


def shared_videos(one: Stock, other: Stock) -> tuple[int, int]:
    """Source videos that are in both of two lists, there or not, and how many clips of the second are from them."""
    videos, others = (Counter(clip[:11] for clip, _ in stock.present + stock.missing) for stock in (one, other))
    shared = videos.keys() & others.keys()
    return len(shared), sum(others[video] for video in shared)


def write_available(stock: Stock) -> str:
    """Write the clips that are there as a list of their own beside the original, ``NAME_available.txt``; its path."""
    path = Path(stock.ann_file)
    path = path.with_name(f'{path.stem}_available{path.suffix}')
    path.write_text(''.join(f'{clip} {label}\n' for clip, label in stock.present))
    return str(path)


def find_ffmpeg() -> str:
    """The program that cuts; FileNotFoundError if it is not installed."""
    ffmpeg = shutil.which('ffmpeg')
    if ffmpeg is None:
        raise FileNotFoundError('ffmpeg is not installed (not found on PATH); clips are cut with it')
    return ffmpeg


def cut_clip(video: str, window: tuple[float, float], out: str) -> None:
    """Cut a window out of a video with ffmpeg, re-encoded so that it starts exactly there, without sound.

    Of an odd width or height, the last column or row is left out.

    Args:
        video: The video.
        window: Start and end in seconds.
        out: The clip. It appears when it is complete: an interrupted cut leaves nothing under this name.

    Raises:
        FileNotFoundError: ffmpeg is not installed.
        RuntimeError: ffmpeg failed, with the first line of what it said; or the window holds no frame.
    """
    ffmpeg = find_ffmpeg()
    part = f'{out}.part{Path(out).suffix}'
    start, end = window
    # A window behind the end of the video is an error, not a clip without frames.
    command = [ffmpeg, '-nostdin', '-loglevel', 'error', '-abort_on', 'empty_output', '-y']
    command += ['-ss', f'{start:.3f}', '-i', video, '-t', f'{end - start:.3f}']
    command += ['-vf', _EVEN_SIZE, '-an', '-c:v', 'libx264', '-crf', '20', part]
    done = subprocess.run(command, capture_output=True, text=True, errors='replace')
    if done.returncode or not Path(part).is_file():
        Path(part).unlink(missing_ok=True)
        reason = next(iter(done.stderr.strip().splitlines()), f'it ended with status {done.returncode}')
        raise RuntimeError(f'ffmpeg could not cut {start:.3f} to {end:.3f} s out of {video}: {reason}')
    os.replace(part, out)
