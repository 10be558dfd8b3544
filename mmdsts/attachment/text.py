"""A config that inherits from another, as a file that is read and changed by hand."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Any

from yapf.yapflib.yapf_api import FormatCode

from mmdsts.compat import is_index_unreadable

_WIDTH = 120
_STYLE = dict(
    based_on_style='pep8',
    column_limit=_WIDTH,
    blank_line_before_nested_class_or_def=True,
    split_before_expression_after_opening_paren=True,
)


def config_text(base: str, comment: str, changes: dict[str, Any]) -> str:
    """Text of a config file.

    Args:
        base: Its ``_base_``: path from the folder of the new file, or ``'mmaction::...'``.
        comment: What stands at its head.
        changes: What it says otherwise than its base.
    """
    head = '\n'.join(f'# {line}' for line in textwrap.wrap(comment, _WIDTH - 2))
    settings = '\n'.join(f'{name} = {_source(value)}' for name, value in changes.items())
    formatted = FormatCode(f'_base_ = {base!r}\n\n{settings}\n', style_config=_STYLE)[0]
    return f'{head}\n{formatted}'


def base_of(config: str | os.PathLike, out: str | os.PathLike) -> str:
    """How a config at ``out`` names the config that it inherits from.

    A config that comes with an installed MMAction2 is named by its place there, any other by its path from ``out``, and
    so are those of MMAction2 1.0 and 1.1, whose own tools cannot look up a place.
    """
    path = Path(config).resolve()
    parts = path.parts
    for i in range(len(parts) - 3):
        if parts[i : i + 3] == ('mmaction', '.mim', 'configs') and not is_index_unreadable():
            return f'mmaction::{"/".join(parts[i + 3 :])}'
    return Path(os.path.relpath(path, Path(out).resolve().parent)).as_posix()


def _source(value: Any) -> str:
    """Python's source of a value, dicts as the configs of MMEngine write them."""
    if isinstance(value, dict):
        if all(isinstance(key, str) and key.isidentifier() for key in value):
            return f'dict({", ".join(f"{key}={_source(entry)}" for key, entry in value.items())})'
        return '{' + ', '.join(f'{key!r}: {_source(entry)}' for key, entry in value.items()) + '}'
    if isinstance(value, list):
        return f'[{", ".join(map(_source, value))}]'
    if isinstance(value, tuple):
        return f'({", ".join(map(_source, value))}{"," * (len(value) == 1)})'
    return repr(value)
