"""Annotation files as text, as the programs of this world write it."""

from __future__ import annotations

import io
import json

from mmengine.fileio import get


def read_text(path: str) -> str:
    """Text of a file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark (which is no part of the text).

    Spreadsheets and editors on Windows write such files.

    Args:
        path (str): A path or an address that MMEngine's file backends know.

    Raises:
        ValueError: The bytes are in none of these encodings.
    """
    content = get(path)
    encoding = json.detect_encoding(content)  # by the mark or the zero bytes at the start, as the standard of JSON says
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].decode(encoding, errors='replace').count('\n') + 1
        found = content[error.start : error.start + 4]
        raise ValueError(
            f'{path}, line {line}: the bytes {found!r} are not {encoding.upper()}; save the file as UTF-8'
        ) from error


def read_lines(path: str) -> list[str]:
    r"""Lines of a file, without what ends them (``\n``, ``\r\n`` or ``\r``); see :func:`read_text`.

    What Unicode counts as the end of a line beside these (``str.splitlines`` does, too) may stand in a file name.
    """
    return [line.rstrip('\n') for line in io.StringIO(read_text(path), newline=None)]
