"""Which of the two decoders reads a file, said once for each file."""

from __future__ import annotations

import logging
import os

from mmengine.logging import print_log

from mmdsts.errors import ClipError

from ..completeness import missing_bytes
from .av_reader import AvReader
from .decord_window import DecordWindow
from .window import name_clip

_CHUNK = 256  # frames in memory at a time
_said: set[str] = set()


def open_window(path: str, start: float | None, end: float | None, num_threads: int = 1) -> AvReader | DecordWindow:
    """Open a window of a video: with PyAV, or with decord where PyAV is not installed.

    Opening a video of an hour takes decord seconds and PyAV milliseconds (``python tools/benchmark.py --suite data``).

    Args:
        path (str): The video.
        start (float, optional): Start in seconds; None is the first frame.
        end (float, optional): End in seconds, not in the window; None is after the last frame.
        num_threads (int): Threads that decode. Defaults to 1.

    Raises:
        ClipError: No frame is shown in the window, or the file cannot be read.
        ImportError: Neither decoder is installed.
    """
    try:
        reader = AvReader(path, start, end, num_threads)
    except ImportError:
        import decord

        _say_once(
            'PyAV',
            'PyAV is not installed, so decord decodes windows of videos. It reads a whole video to find one: '
            'for long videos install PyAV (pip install av)',
        )
        reader = DecordWindow(decord.VideoReader(path, num_threads=num_threads), start, end)
    if not len(reader):
        length = f', in a video of {reader.duration:.3f} s' if reader.duration else ''
        raise ClipError(
            f'{name_clip(path, start, end)}: no frame is shown then{length}; check the times of the annotation'
        )
    return reader


def open_instead(path: str, error: Exception, num_threads: int = 1) -> AvReader:
    """Open a whole video with PyAV, which decord fails on: AV1, recordings of browsers, very small frames.

    Args:
        path (str): The video.
        error (Exception): What decord says.
        num_threads (int): Threads that decode. Defaults to 1.

    Raises:
        Exception: ``error``, where PyAV is not installed or fails, too, or the file is incomplete: what there is of it
            must not pass for the whole.
    """
    if not os.path.isfile(path) or missing_bytes(path):
        raise error
    try:
        reader = AvReader(path, num_threads=num_threads)
    except Exception as second:  # whatever it is, decord's is the one to tell
        raise error from second
    if not len(reader):
        raise error
    if isinstance(error, ImportError):
        _say_once('decord', f'PyAV decodes instead of decord ({error})')
    else:
        _say_once(path, f'decord cannot decode {path}, PyAV does')
    return reader


def check_with_either(path: str) -> None:
    """Check that decord, or PyAV in its place, gives each frame of a complete file, as ``ClipInit`` needs it.

    Raises:
        ClipError: Neither does; the message is about decord.
    """
    from ..video import check_every_frame

    try:
        check_every_frame(path)
    except ClipError as error:
        reader = open_instead(path, error)
        for start in range(0, len(reader), _CHUNK):
            reader.get_batch(range(start, min(start + _CHUNK, len(reader))))


def is_said(path: str) -> bool:
    """Whether decord failed on a file in this process, and PyAV does not."""
    return path in _said


def _say_once(key: str, text: str) -> None:
    if key not in _said:
        _said.add(key)
        print_log(text, logger='current', level=logging.WARNING)
