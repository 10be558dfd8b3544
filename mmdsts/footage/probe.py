"""What is wrong with the file of a video, before a training meets it."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

from mmdsts.datasets.completeness import missing_bytes
from mmdsts.datasets.video import describe_error

#: Kinds of findings for which a file cannot be used.
UNUSABLE = ('missing', 'empty', 'truncated', 'no video', 'audio only', 'codec', 'no frames', 'undecodable')

# Suffix -> word in FFmpeg's name of a container.
_CONTAINERS = {'.mp4': 'mp4', '.m4v': 'mp4', '.mov': 'mov', '.mkv': 'matroska', '.webm': 'webm', '.avi': 'avi'}
_TINY = 32  # pixels
_CHUNK = 32  # frames in memory at a time


class Probe(NamedTuple):
    """What a file is.

    Attributes:
        findings: Kind and text of what is wrong.
        seconds: Its length; 0 where unknown.
        frames: How many can be decoded; in a quick probe what its head says.
        rate: Frames a second.
    """

    findings: list
    seconds: float = 0.0
    frames: int = 0
    rate: float = 0.0


def probe(path: str, quick: bool = False, with_decord: bool = True) -> Probe:
    """Look at a file, and decode it.

    Args:
        path: The file.
        quick: Decode its first frame only. Defaults to False: each.
        with_decord: Whether a file that only PyAV decodes is wrong. Defaults to True.
    """
    if not Path(path).is_file():
        return Probe([('missing', f'no such file{_similar(path)}')])
    size = Path(path).stat().st_size
    if not size:
        return Probe([('empty', '0 bytes')])
    if missing := missing_bytes(path):
        return Probe([('truncated', f'its last {missing} bytes are missing; get it anew')])
    import av  # is not needed to read a data set

    findings: list[tuple[str, str]] = []
    try:
        with av.open(path) as container:
            return _probe_open(path, container, findings, quick, with_decord)
    except Exception as error:  # of FFmpeg: anything can be in a file
        with open(path, 'rb') as file:
            start = file.read(12)
        text = f'{_short(error)}; {size} bytes, starting with {start!r}'
        return Probe([*findings, ('no video', text)])


def _probe_open(path: str, container, findings: list, quick: bool, with_decord: bool) -> Probe:
    expected = _CONTAINERS.get(Path(path).suffix.lower())
    if expected and expected not in container.format.name:
        findings.append(('suffix', f'is {container.format.name.split(",")[0]}, not {Path(path).suffix}'))
    streams = container.streams.video
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        kind = 'audio only' if 'audio' in kinds else 'no video'
        return Probe([*findings, (kind, f'has no pictures, only {", ".join(kinds) or "nothing"}')])
    stream = streams[0]
    codec = stream.codec_context
    name = codec.codec.canonical_name if codec else 'unknown'
    rate = float(stream.average_rate or 0)
    seconds = (container.duration or 0) / 1e6
    width, height = codec.width, codec.height
    said = stream.frames
    count, rotation, fault = 0, 0, None
    try:
        for frame in container.decode(stream):
            rotation = frame.rotation if not count else rotation
            count += 1
            if quick:
                break
    except Exception as error:  # a packet that is broken, a codec without a decoder
        fault = _short(error)
    if not count:
        if fault:
            return Probe([*findings, ('codec', f'{name} cannot be decoded: {fault}')], seconds, 0, rate)
        return Probe([*findings, ('no frames', f'{name}, {seconds:.1f} s, without a frame')], seconds, 0, rate)
    if fault:
        findings.append(('undecodable', f'breaks off after frame {count}: {fault}'))
    elif not quick and said and count < 0.9 * said:
        findings.append(('truncated', f'{count} of {said} frames can be decoded'))
    if not fault:
        error = _decord_error(path, quick)
        if error and with_decord:
            kind = 'codec' if name not in ('h264', 'hevc', 'mpeg4', 'vp8', 'vp9') else 'undecodable'
            findings.append((kind, f'decord cannot decode it ({name}, {width} x {height}): {error}'))
    if rotation % 360:
        turned = f'turned by {rotation % 360} degrees by its metadata, which decoders treat differently'
        findings.append(('rotated', f'{turned}; write it anew with ffmpeg, which turns the pictures'))
    if min(width, height) < _TINY:
        findings.append(('tiny', f'{width} x {height} pixels'))
    elif width % 2 or height % 2:
        findings.append(('odd size', f'{width} x {height} pixels; some decoders leave out a line'))
    frames = (said or round(seconds * rate)) if quick else count  # Matroska's heads give no number
    return Probe(findings, seconds or (frames / rate if rate else 0), frames, rate)


def _decord_error(path: str, quick: bool) -> str | None:
    """Why decord, which our configs decode with first, fails on a file."""
    import decord

    try:
        reader = decord.VideoReader(path, num_threads=1)
        stop = 1 if quick else len(reader)
        for start in range(0, stop, _CHUNK):
            reader.get_batch(range(start, min(start + _CHUNK, stop)))
    except Exception as error:  # decord's own errors are plain exceptions
        return describe_error(path, error)
    return None


def _similar(path: str) -> str:
    """The file that was probably meant: of another case, or another form of the same letters (macOS)."""
    folder = Path(path).parent
    if not folder.is_dir():
        return f'; the folder {folder} is not there'
    wanted = unicodedata.normalize('NFC', Path(path).name).casefold()
    for name in os.listdir(folder):
        if unicodedata.normalize('NFC', name).casefold() == wanted:
            same = unicodedata.normalize('NFC', name) == unicodedata.normalize('NFC', Path(path).name)
            return f'; {name!r} is there, ' + ('in another Unicode form' if same else 'in other letters')
    return ''


def _short(error: Exception) -> str:
    text = re.sub(r'^\[Errno -?\d+\] ', '', ' '.join(str(error).split()))  # FFmpeg's numbers tell nothing
    return text[:150] or type(error).__name__
