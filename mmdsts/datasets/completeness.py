"""Whether the end of a video is missing, by what its container says of its own length."""

from __future__ import annotations

import functools
import os
from typing import BinaryIO

from mmdsts.errors import ClipError


def refuse_incomplete(path: str) -> None:
    """Raise where the end of a video is missing; looks once at each file as long as it stays the same.

    Raises:
        ClipError: It is.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # missing, which its reader says; or on another file backend
        return
    if missing := _missing_bytes(path, status.st_size, status.st_mtime_ns):
        raise ClipError(f'clip {path}: {incomplete(missing)}')


def incomplete(missing: int) -> str:
    """What is wrong with a file whose last bytes are missing, and what to do."""
    return f'the file is incomplete, its last {missing} bytes are missing; get it anew'


def missing_bytes(path: str) -> int:
    """By how many bytes a video is shorter than it says; decoders take what is left for the whole.

    mp4 and mov (ISO/IEC 14496-12, 4.2), Matroska and WebM (RFC 8794, 6; RFC 9559, 4.5), AVI (its chunks of type RIFF).

    Returns:
        0 for a complete file, for one that does not say how long it is, as a live recording, and for one of another
        kind.
    """
    size = os.stat(path).st_size
    with open(path, 'rb') as file:
        start = file.read(8)
        file.seek(0)
        if start[4:] == b'ftyp':
            return max(_end_of_boxes(file, size) - size, 0)
        if start[:4] == _EBML:
            return max(_end_of_matroska(file) - size, 0)
        if start[:4] == b'RIFF':
            missing = _end_of_riff(file, size) - size
            return missing if missing > 8 else 0  # some writers count the header of the chunk, too
    return 0


@functools.lru_cache(maxsize=None)
def _missing_bytes(path: str, *_version: int) -> int:
    # A long recording in fragments has thousands of boxes, and each of its clips is looked at in each epoch.
    return missing_bytes(path)


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Where the last box of an mp4 ends; 0 if that is not said."""
    position = 0
    while position < size:
        file.seek(position)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], 'big'), header[4:8]
        if length == 1:  # a box of more than 4 GiB
            length = int.from_bytes(header[8:16], 'big')
        # 0: to the end of the file. Or something that was put behind the last box.
        if length < 8 or not (kind.isascii() and kind.decode('ascii').isprintable()):
            return 0
        position += length
    return position


_EBML, _SEGMENT = b'\x1a\x45\xdf\xa3', b'\x18\x53\x80\x67'


def _end_of_matroska(file: BinaryIO) -> int:
    """Where the segment ends that follows the header; 0 if that is not said."""
    file.seek(len(_EBML))
    header = _element_size(file)
    if header is None:
        return 0
    file.seek(header, os.SEEK_CUR)
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return 0
    segment = _element_size(file)
    return 0 if segment is None else file.tell() + segment


def _element_size(file: BinaryIO) -> int | None:
    """A number of as many bytes as the first has leading zeros, and one; None if all its bits are ones: unknown."""
    first = file.read(1)
    if not first or first == b'\0':
        return None
    length = 9 - first[0].bit_length()
    bits = 7 * length
    value = int.from_bytes(first + file.read(length - 1), 'big') & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value


def _end_of_riff(file: BinaryIO, size: int) -> int:
    """Where the last of the RIFF chunks ends, of which a long AVI has several; 0 if that is not said."""
    position = 0
    while position < size:
        file.seek(position)
        header = file.read(8)
        length = int.from_bytes(header[4:8], 'little')
        if header[:4] != b'RIFF' or not length:  # something put behind it, or a recording that was never closed
            return 0
        position += 8 + length
        if position < size:
            position += length % 2
    return position
