"""How long and how large the clips of a data set are, from the heads of their files."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple, Sequence

import cv2

from mmdsts.datasets.clip_table import TableClip
from mmdsts.errors import UsageError

#: Files looked at; their medians are all that is wanted.
SAMPLE = 200


class Measures(NamedTuple):
    """Medians over clips.

    Attributes:
        seconds: Length of a clip.
        rate: Frames a second.
        width: Pixels.
        height: Pixels.
        clips: How many were looked at.
        unreadable: Names of those whose file could not be opened.
    """

    seconds: float
    rate: float
    width: int
    height: int
    clips: int
    unreadable: list


def measure(clips: Sequence[TableClip], root: Path, jobs: int = 4, seed: int = 0) -> Measures:
    """Look at the files of some clips, at random where there are many.

    Raises:
        UsageError: No file can be opened.
    """
    some = list(clips) if len(clips) <= SAMPLE else random.Random(seed).sample(list(clips), SAMPLE)
    with ThreadPoolExecutor(jobs) as pool:
        found = list(pool.map(lambda clip: _measure(clip, root / clip.path), some))
    seen = [values for values in found if values]
    unreadable = [clip.path for clip, values in zip(some, found) if not values]
    if not seen:
        raise UsageError(
            f'none of {len(some)} videos can be opened, such as {root / some[0].path}; '
            'tools/data/check_videos.py says why'
        )
    seconds, rate, width, height = (median(column) for column in zip(*seen))
    return Measures(seconds, rate, round(width), round(height), len(some), unreadable)


def _measure(clip: TableClip, path: Path) -> tuple[float, float, float, float] | None:
    capture = cv2.VideoCapture(str(path))
    names = (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    frames, rate, width, height = (capture.get(name) for name in names)
    capture.release()
    if min(frames, rate, width, height) <= 0:
        return None
    end = frames / rate if clip.end is None else min(clip.end, frames / rate)
    return max(end - (clip.start or 0), 1 / rate), rate, width, height


def clip_length(measures: Measures) -> int:
    """Frames to sample of a clip: 8, 16 or 32, so that about eight a second of it are seen, and not more than it has.

    Our choice: fine-grained motion needs more than the two or three a second that suffice for scenes, and memory grows
    with the number.
    """
    wanted = min(8 * measures.seconds, measures.seconds * measures.rate)
    return next((length for length in (8, 16) if wanted <= 1.25 * length), 32)


def frame_size(measures: Measures, pixels: int, multiple: int) -> tuple[int, int]:
    """Width and height to resize frames to: of the shape of the videos, about ``pixels`` x ``pixels`` in area and not
    larger than the videos.

    Args:
        measures: Of the clips.
        pixels: Side of a square of the wanted area.
        multiple: What both are multiples of.
    """
    scale = min(pixels / (measures.width * measures.height) ** 0.5, 1.0)
    sides = (measures.width * scale, measures.height * scale)
    return tuple(max(multiple, round(side / multiple) * multiple) for side in sides)
