"""Tables of labelled clips: one's own CSV, and the lists of MMAction2.

A table has a line a clip and a head that names its columns, separated by comma, semicolon or tab::

    path,label,start,end,group
    match1/serve 3.mp4,serve,,,match1
    match2.mp4,volley,12.5,14.0,match2

``path`` and ``label`` have to be there. ``start`` and ``end`` are seconds of the video; without them a clip is the
whole file. ``group`` is what must not be in two splits at once; one column person, subject, player, match, camera or
scene stands for it. ``split`` is ``train``, ``val`` or ``test``. Other columns are left alone.
"""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path
from typing import Iterable, NamedTuple

from .text import read_lines, read_text

COLUMNS = ('path', 'label', 'start', 'end', 'group', 'split')
# Without a head, columns are told by how many there are.
_WITHOUT_HEAD = {
    2: ('path', 'label'),
    3: ('path', 'label', 'group'),
    4: ('path', 'label', 'start', 'end'),
    5: ('path', 'label', 'start', 'end', 'group'),
}
_NAMES = {'file': 'path', 'filename': 'path', 'video': 'path', 'class': 'label'}
_GROUPS = ('person', 'subject', 'player', 'match', 'camera', 'scene')
#: Words for a split, in tables and as names of folders and lists.
SPLITS = {
    'train': 'train', 'training': 'train', 'val': 'val', 'valid': 'val', 'validation': 'val', 'test': 'test',
    'testing': 'test',
}  # fmt: skip


class TableClip(NamedTuple):
    """A line of a table.

    Attributes:
        path: File, as the table has it.
        label: Class, as the table has it: a name, or a number as text.
        start: Start in seconds of the video; None for its beginning.
        end: End in seconds; None for its end.
        group: Group; None where the table says none.
        split: ``'train'``, ``'val'``, ``'test'`` or None.
        line: Number of its line, from 1.
    """

    path: str
    label: str
    start: float | None = None
    end: float | None = None
    group: str | None = None
    split: str | None = None
    line: int = 0


class Table(NamedTuple):
    """What is in a file.

    Attributes:
        clips: Its clips.
        faults: Numbers of the lines that are no clip, each with what is wrong.
        blank: Numbers of the blank lines.
        separated: Whether its columns have a separator; False for the lines ``PATH LABEL`` of MMAction2.
    """

    clips: list
    faults: list
    blank: list
    separated: bool


def parse_table(path: str) -> Table:
    """Read a table, or a list of lines ``PATH LABEL`` as MMAction2 has them, to its end whatever is wrong inside.

    Raises:
        ValueError: The file is no text, see :func:`~mmdsts.datasets.text.read_text`, or its head lacks a column.
        FileNotFoundError: It is not there.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path} is not there')
    text = read_text(path)
    first = next((line for line in text.splitlines() if line.strip()), '')
    separator = max(',;\t', key=first.count)
    head = [_column(cell) for cell in next(csv.reader([first], delimiter=separator), [])]
    groups = [name for name in head if name in _GROUPS]
    if 'group' not in head and len(groups) == 1:
        head[head.index(groups[0])] = 'group'
    has_head = len(set(head) & set(COLUMNS)) > 1 or 'path' in head
    listed = re.fullmatch(r'.*\S\s+-?\d+\s*', first) and not has_head and Path(path).suffix.lower() != '.csv'
    table = Table([], [], [], not listed)
    if listed:
        for line, row in enumerate(io.StringIO(text, newline=None), start=1):
            if row.strip():
                _add(table, line, dict(zip(('path', 'label'), row.strip().rsplit(None, 1))))
            else:
                table.blank.append(line)
        return table
    if has_head and not {'path', 'label'} <= set(head):
        missing = ' and '.join(sorted({'path', 'label'} - set(head)))
        raise ValueError(f'{path}, line 1: found the columns {first!r}, expected also {missing}')
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=separator)
    seen_head = False
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                table.blank.append(reader.line_num)
            elif has_head and not seen_head:
                seen_head = True
            else:
                columns = head if has_head else _WITHOUT_HEAD.get(len(row), ('path',))
                if has_head and any(cell.strip() for cell in row[len(head) :]):
                    fault = f'found {len(row)} cells under {len(head)} columns; quote what has a {separator!r} in it'
                    table.faults.append((reader.line_num, fault))
                    continue
                _add(table, reader.line_num, {key: cell.strip() for key, cell in zip(columns, row)})
    except csv.Error as error:
        raise ValueError(f'{path}, line {reader.line_num}: {error}; is it a table of text?') from error
    return table


def read_table(path: str) -> list[TableClip]:
    """Clips of a table in which nothing is wrong.

    Raises:
        ValueError: A line is no clip, or there is none; and as :func:`parse_table`.
        FileNotFoundError: The file is not there.
    """
    table = parse_table(path)
    if table.faults:
        line, fault = table.faults[0]
        raise ValueError(f'{path}, line {line}: {fault}')
    if not table.clips:
        raise ValueError(f'{path} has no clip: expected lines such as serve_1.mp4,serve under a head path,label')
    return table.clips


def write_table(path: str, clips: Iterable[TableClip]) -> None:
    """Write a table with the columns that any clip has something in."""
    clips = list(clips)
    columns = [name for name in COLUMNS if name in COLUMNS[:2] or any(getattr(c, name) is not None for c in clips)]
    with open(path, 'w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(columns)
        for clip in clips:
            values = (getattr(clip, name) for name in columns)
            # Twelve digits: with the six of a plain g, windows after 10,000 s would begin a tenth of a second off.
            writer.writerow(['' if v is None else f'{v:.12g}' if isinstance(v, float) else v for v in values])


def _column(cell: str) -> str:
    name = cell.strip().strip('\ufeff').lower()
    return _NAMES.get(name, name)


def _add(table: Table, line: int, cells: dict[str, str]) -> None:
    """Add a line to the clips or to the faults."""
    path, label = cells.get('path', ''), cells.get('label', '')
    if not path or not label:
        table.faults.append((line, f'found {path or label!r}, expected a path and a label'))
        return
    window, split = {}, cells.get('split') or None
    for name in ('start', 'end'):
        text = cells.get(name, '')
        try:
            window[name] = float(text.replace(',', '.')) if text else None
        except ValueError:
            window[name] = math.nan
        if window[name] is not None and not 0 <= window[name] < math.inf:
            table.faults.append((line, f'{name} is {text!r}, expected seconds of the video, such as 12.5'))
            return
    start, end = window['start'], window['end']
    if end is not None and end <= (start or 0):
        table.faults.append((line, f'its window goes from {start or 0:g} to {end:g} s, which ends before it starts'))
        return
    if split is not None and split.lower() not in SPLITS:
        table.faults.append((line, f'split is {split!r}, expected train, val or test'))
        return
    split = SPLITS[split.lower()] if split else None
    table.clips.append(TableClip(path, label, start, end, cells.get('group') or None, split, line))


def read_label_map(path: str) -> list[str]:
    """Names of the classes from a file with one a line, the first of label 0.

    Raises:
        ValueError: A name is there twice, or there is none; or the file is no text.
        FileNotFoundError: The file is not there.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path} is not there')
    names = [line.strip() for line in read_lines(path) if line.strip()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise ValueError(f'{path}: ' + (f'the class {twice[0]!r} is there twice' if twice else 'has no class'))
    return names
