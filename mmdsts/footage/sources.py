"""Which clips of which class a folder or a table holds."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple, Sequence

from mmdsts.datasets.clip_table import SPLITS, TableClip, read_label_map, read_table
from mmdsts.errors import UsageError

#: Endings of files that are taken for videos.
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.flv', '.ts', '.mts')

_LABEL_MAP = 'label_map.txt'
_NUMBER_AT_THE_END = re.compile(r'[\W_]*\d*[\W_]*$')


class Footage(NamedTuple):
    """Clips and where they come from.

    Attributes:
        clips: Clips; their paths start at ``root`` or are absolute.
        root: Folder that the paths start at.
        classes: Names of the classes, in the order of their numbers.
        notes: What was taken for what, a sentence each.
    """

    clips: list
    root: Path
    classes: list
    notes: list


def find_footage(source: str, pattern: str | None = None, root: str | None = None) -> Footage:
    """Find the labelled clips of a folder or a table.

    Args:
        source: A folder of videos, or a table (:mod:`mmdsts.datasets.clip_table`). Of a folder, in this order: lists
            ``*train*.txt`` and ``*val*.txt`` or ``*test*.txt`` of MMAction2 that are in it; what ``pattern`` finds; a
            folder per class, inside folders ``train``, ``val`` and ``test`` if there are some, where a folder inside
            that of a class is a group; for videos in one folder, their names without the number at the end.
        pattern: Regular expression, searched in the path of each video below ``source``, whose named groups ``label``
            and ``group`` give class and group. For a table it may give the group. Defaults to None.
        root: Folder that the paths of a table start at. Defaults to None: that of the table, or a folder ``videos``
            beside it if the videos are there.

    Raises:
        UsageError: There is no video, no class, or ``pattern`` does not fit.
    """
    path = Path(source)
    compiled = _compile(pattern)
    if not path.exists():
        raise UsageError(f'{source}: no such folder or table (the working directory is {Path.cwd()})')
    lists = {None: path} if path.is_file() else _lists(path) if compiled is None else {}
    footage = _from_tables(lists, root, compiled) if lists else _from_folder(path, compiled)
    labels = {clip.label for clip in footage.clips}
    if len(labels) < 2:
        raise UsageError(f'{source} has clips of one class, {labels.pop()!r}; expected two or more classes')
    return footage


def _compile(pattern: str | None) -> re.Pattern | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f'--pattern {pattern!r}: {error}') from error
    if not set(compiled.groupindex) & {'label', 'group'}:
        raise UsageError(f'--pattern {pattern!r}: expected a part (?P<label>...), (?P<group>...) or both')
    return compiled


# --- tables ----------------------------------------------------------------------------------------------------------


def _lists(folder: Path) -> dict[str, Path]:
    """Lists of a folder by split, where there is a train list and it is about videos of this folder."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob('*')):
        words = [word for word in re.split(r'[\W_]+', path.stem.lower()) if word in SPLITS]
        if path.is_file() and path.suffix.lower() in ('.txt', '.csv') and len(words) == 1:
            found.setdefault(SPLITS[words[0]], []).append(path)
    if 'train' not in found:
        return {}
    for split, paths in found.items():
        if len(paths) > 1:
            names = ', '.join(path.name for path in paths)
            raise UsageError(f'{folder} has several lists for {split} ({names}); write one table with a column split')
    return {split: paths[0] for split, paths in found.items()}


def _from_tables(tables: dict, root: str | None, pattern: re.Pattern | None) -> Footage:
    clips, notes = [], []
    for split, path in tables.items():
        try:
            table = read_table(str(path))
        except (ValueError, FileNotFoundError) as error:
            raise UsageError(str(error)) from error
        clips += [clip._replace(split=split or clip.split) for clip in table]
        notes.append(f'{path}: {len(table)} clips' + (f', split {split}' if split else ''))
    folder = next(iter(tables.values())).parent
    base = _base(clips, [Path(root)] if root else [folder, folder / 'videos', folder / 'clips'])
    if pattern is not None and 'group' in pattern.groupindex:
        clips = [clip._replace(group=_search(pattern, clip.path)['group']) for clip in clips]
    return Footage(clips, base, _classes(clips, folder / _LABEL_MAP, notes), notes)


def _base(clips: list, folders: list[Path]) -> Path:
    """The folder in which the videos of a table are."""
    some = clips[:: max(len(clips) // 50, 1)]
    best = max(folders, key=lambda folder: sum((folder / clip.path).is_file() for clip in some))
    if not any((best / clip.path).is_file() for clip in some):
        raise UsageError(
            f'no video of the table is in {" or ".join(map(str, folders))}, such as {some[0].path}; say with --videos '
            'at which folder its paths start'
        )
    return best.resolve()


def _classes(clips: list, label_map: Path, notes: list) -> list[str]:
    """Names of the classes; labels of the clips that are numbers become names."""
    labels = {clip.label for clip in clips}
    names = None
    if label_map.is_file():
        try:
            names = read_label_map(str(label_map))
        except ValueError as error:
            raise UsageError(str(error)) from error
    if names is not None and labels <= set(names):  # names come first, as in VideoTableDataset: they may be numbers
        return names
    numbered = all(label.isdecimal() for label in labels)
    if numbered and names is not None and max(map(int, labels)) < len(names):
        clips[:] = [clip._replace(label=names[int(clip.label)]) for clip in clips]
        notes.append(f'{label_map}: names of {len(names)} classes')
        return names
    classes = sorted(labels, key=int) if numbered else sorted(labels)
    if names is not None:
        other = next(label for label in reversed(classes) if label not in names)
        notes.append(f'{label_map}: left aside, for its {len(names)} classes lack the label {other!r}')
    return classes


# --- folders ---------------------------------------------------------------------------------------------------------


def _from_folder(folder: Path, pattern: re.Pattern | None) -> Footage:
    # What starts with a dot is rubbish of file systems, such as ._clip.mp4 of macOS.
    videos = sorted(
        path.relative_to(folder)
        for path in folder.rglob('*')
        if path.suffix.lower() in VIDEO_SUFFIXES
        and not any(part.startswith('.') for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    if not videos:
        raise UsageError(
            f'{folder} has no video ({", ".join(VIDEO_SUFFIXES)}), in any of its folders; for a table of paths and '
            'labels give the table'
        )
    notes: list[str] = []
    if pattern is not None:
        clips = _by_pattern(videos, pattern, notes)
    elif all(len(path.parts) == 1 for path in videos):
        clips = _by_name(folder, videos, notes)
    else:
        clips = _by_folder(folder, videos, notes)
    label_map = folder / _LABEL_MAP
    return Footage(clips, folder.resolve(), _classes(clips, label_map, notes), notes)


def _by_pattern(videos: Sequence[Path], pattern: re.Pattern, notes: list) -> list[TableClip]:
    clips = []
    for path in videos:
        found = _search(pattern, path.as_posix())
        label = found.get('label') or (path.parts[-2] if len(path.parts) > 1 else None)
        if label is None:
            raise UsageError(
                f'--pattern {pattern.pattern!r} gives no label for {path}, which is in no folder of a class'
            )
        clips.append(TableClip(path.as_posix(), label, group=found.get('group')))
    notes.append(f'classes and groups are what {pattern.pattern!r} finds in the paths')
    return clips


def _search(pattern: re.Pattern, path: str) -> dict:
    found = pattern.search(path)
    if found is None or not all(found.groupdict().values()):
        raise UsageError(f'--pattern {pattern.pattern!r} is not found in {path}; it has to fit every video')
    return found.groupdict()


def _by_folder(folder: Path, videos: Sequence[Path], notes: list) -> list[TableClip]:
    """A folder per class, maybe inside folders of splits; a folder inside that of a class is a group."""
    tops = {path.parts[0] for path in videos}
    split_first = all(top.lower() in SPLITS for top in tops)
    depth = 1 if split_first else 0
    shallow = [path for path in videos if len(path.parts) < depth + 2]
    if shallow:
        raise UsageError(
            f'{folder}: {len(shallow)} of {len(videos)} videos, such as {shallow[0]}, are in no folder of a class; put '
            'them into one, or say with --pattern where the class stands, as in --pattern "(?P<label>[a-z]+)"'
        )
    if len({path.parts[depth] for path in videos}) == 1 and all(len(path.parts) > depth + 2 for path in videos):
        depth += 1  # one folder, videos/ for example, around those of the classes
    inner = any(len(path.parts) > depth + 2 for path in videos)
    clips = []
    for path in videos:
        group = path.parts[depth + 1] if len(path.parts) > depth + 2 else None
        split = SPLITS[path.parts[0].lower()] if split_first else None
        clips.append(TableClip(path.as_posix(), path.parts[depth], group=group, split=split))
    notes.append('a folder per class' + (', inside a folder per split' if split_first else ''))
    if inner and not split_first:
        notes.append(
            'the folders inside those of the classes are taken for groups; if it is the other way round: '
            "--pattern '(?P<group>[^/]+)/(?P<label>[^/]+)/'"
        )
    return clips


def _by_name(folder: Path, videos: Sequence[Path], notes: list) -> list[TableClip]:
    """Videos in one folder: their names without the number at the end are the classes, if that makes classes."""
    labels = [_NUMBER_AT_THE_END.sub('', path.stem) for path in videos]
    counts = Counter(labels)
    if not 2 <= len(counts) <= len(videos) // 2 or '' in counts or min(counts.values()) < 2:
        raise UsageError(
            f'{folder}: its {len(videos)} videos are in one folder, and their names ({videos[0]}, {videos[-1]}) tell '
            'no class; sort them into a folder per class, give a table (path,label), or say with --pattern where the '
            'class stands, as in --pattern "^....(?P<label>.)"'
        )
    notes.append(f'the classes are the names of the files without the number at the end ({videos[0]}: {labels[0]})')
    return [TableClip(path.as_posix(), label) for path, label in zip(videos, labels)]
