"""Whether a video can be decoded, and if not, why not."""

from __future__ import annotations

import os
import re
import shlex
import traceback
from pathlib import Path

import cv2

from mmdsts.errors import ClipError

from .completeness import incomplete, missing_bytes

_CODECS = dict(AV01='AV1', av01='AV1')  # what OpenCV calls them: how they are known
_DECORD_PLACE = re.compile(r'\[\d\d:\d\d:\d\d\] \S+:\d+: ')  # time and line of its source, before each message
_CHUNK = 32  # frames in memory at a time


def check_video(path: str) -> None:
    """Check that a video is complete and has frames that OpenCV can read, by the first.

    Raises:
        ClipError: It is not, or has none, or there is no such file.
    """
    if not Path(path).is_file():
        raise ClipError(f'video {path}: no such file (the working directory is {os.getcwd()})')
    # What is cut off between two frames goes unnoticed by decoders: the clip just has fewer.
    if missing_bytes(path):
        raise ClipError(f'video {path}: {explain(path)}')
    capture = cv2.VideoCapture(path)
    readable = capture.isOpened() and capture.read()[0]
    capture.release()
    if not readable:
        raise ClipError(f'video {path} ({Path(path).stat().st_size} bytes): not a readable video; {explain(path)}')


def check_every_frame(path: str) -> None:
    """Check that decord, which our configs decode with, gives each frame of a complete file.

    Raises:
        ClipError: It does not.
    """
    check_video(path)
    import decord  # is not needed to read a data set in another way

    try:
        reader = decord.VideoReader(path, num_threads=1)
        for start in range(0, len(reader), _CHUNK):
            reader.get_batch(range(start, min(start + _CHUNK, len(reader))))
    except Exception as error:  # decord's own errors are plain exceptions
        raise ClipError(f'video {path}: {describe_error(path, error)}') from error


def describe_error(path: str, error: Exception) -> str:
    """In one line: why a pipeline failed on a file; of an error without words, as of an ``assert``, where it arose."""
    text = _DECORD_PLACE.sub('', ' '.join(str(error).split()))
    if not text and error.__traceback__:
        text = traceback.extract_tb(error.__traceback__)[-1].line or ''
    text = f'{type(error).__name__}: {text}'
    reason = explain(path)
    return f'{reason} ({text})' if reason else text


def explain(path: str) -> str | None:
    """What keeps a video from being decoded, and what to do about it; ``None`` if nothing is found."""
    if not Path(path).is_file():  # on another file backend, or a folder of frames
        return None
    if missing := missing_bytes(path):
        return incomplete(missing)
    capture = cv2.VideoCapture(path)
    opened, decoded = capture.isOpened(), capture.read()[0]
    code, frames = int(capture.get(cv2.CAP_PROP_FOURCC)), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    capture.release()
    if not opened:
        return 'expected a file such as .mp4, complete and with a video stream'
    if not decoded:
        codec = (code & 0xFFFFFFFF).to_bytes(4, 'little').decode('latin-1').strip('\0 ') or 'unknown'
        return (
            f'its codec, {_CODECS.get(codec, codec)}, cannot be decoded here; '
            f'convert it with: ffmpeg -i {shlex.quote(path)} -c:v libx264 -crf 18 OUT.mp4'
        )
    if frames < 1:
        return (
            'it does not say how long it is, as the recording of a browser; '
            f'write it anew with: ffmpeg -i {shlex.quote(path)} -c copy OUT{Path(path).suffix}'
        )
    return None
