"""What is wrong with the lists of a data set and with their videos."""

from __future__ import annotations

import hashlib
import os.path as osp
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Callable, Iterable, NamedTuple, Sequence

from mmengine.fileio import get

from mmdsts.datasets.clip_table import TableClip, parse_table
from mmdsts.datasets.video_table import label_number

from .probe import UNUSABLE, Probe, probe

#: All kinds of findings.
KINDS = (
    *UNUSABLE, 'window', 'window end', 'suffix', 'rotated', 'tiny', 'odd size', 'short', 'list', 'label', 'line',
    'blank line', 'encoding', 'duplicate', 'both splits', 'shared video',
)  # fmt: skip


class Finding(NamedTuple):
    """Something that is wrong.

    Attributes:
        kind: A word or two, the same for all of a kind.
        where: The list and its line, or the file.
        text: What was found.
        path: File of the clip that is concerned; None where no clip is.
    """

    kind: str
    where: str
    text: str
    path: str | None = None


class CheckedList(NamedTuple):
    """A list and its clips.

    Attributes:
        name: What findings call it.
        file: The file; None for a data set that was built.
        clips: Its clips, whose paths are those of the files.
        findings: What is wrong with the list itself.
        clip_len: Frames that a clip is sampled from at least; None where unknown.
    """

    name: str
    file: str | None
    clips: list
    findings: list
    clip_len: int | None = None


def names_of(paths: Sequence[str]) -> list[str]:
    """What findings call lists: the name of the file, or its path where two lists have the same name."""
    counts = Counter(map(osp.basename, paths))
    return [path if counts[osp.basename(path)] > 1 else osp.basename(path) for path in paths]


def check_table(
    path: str,
    root: str | None,
    classes: Sequence[str] | None,
    num_classes: int | None,
    clip_len: int | None = None,
    name: str | None = None,
) -> CheckedList:
    """Read a list and look at its lines.

    Args:
        path: A table, or a list of MMAction2.
        root: Folder that its paths start at.
        classes: Names of the classes, where labels may be names.
        num_classes: Number of classes; None where unknown.
        clip_len: See :class:`CheckedList`. Defaults to None.
        name: See :class:`CheckedList`. Defaults to None: that of the file.
    """
    name = name or osp.basename(path)
    findings: list[Finding] = []
    try:
        table = parse_table(path)
    except (ValueError, FileNotFoundError) as error:
        kind = 'missing' if isinstance(error, FileNotFoundError) else 'encoding' if 'save the' in str(error) else 'list'
        return CheckedList(name, path, [], [Finding(kind, name, str(error))], clip_len)
    start = get(path)[:4]
    mark = next((word for bytes_, word in _MARKS if start.startswith(bytes_)), None)
    if mark:
        findings.append(Finding('encoding', name, f'{mark}; read here, not by every program: save it as plain UTF-8'))
    findings += [Finding('line', f'{name}:{line}', fault) for line, fault in table.faults]
    if table.blank:
        some = ', '.join(map(str, table.blank[:5])) + (', ...' if len(table.blank) > 5 else '')
        findings.append(
            Finding('blank line', name, f'{len(table.blank)} blank lines ({some}); MMAction2 takes each for a clip')
        )
    if not table.clips:
        findings.append(Finding('list', name, 'has no clip'))
    numbers = {label: i for i, label in enumerate(classes or ())}
    for clip in table.clips:
        label = label_number(clip.label, numbers)
        if label is None and clip.label.isdecimal():  # beyond the names
            label = int(clip.label)
        most = num_classes if num_classes is not None else len(numbers) or None
        if label is None:
            known = f'none of the {len(numbers)} classes' if numbers else 'no number, and no label_map.txt names it'
            findings.append(Finding('label', f'{name}:{clip.line}', f'{clip.label!r} is {known}', clip.path))
        elif most is not None and label >= most:
            text = f'{label} is out of range, expected 0 to {most - 1}'
            findings.append(Finding('label', f'{name}:{clip.line}', text, clip.path))
        if not table.separated and ' ' in clip.path:
            text = f'{clip.path!r} has a blank, at which VideoDataset cuts a line: make it a table with commas'
            findings.append(Finding('line', f'{name}:{clip.line}', text, clip.path))
    clips = [clip._replace(path=file_of(osp.join(root or '', clip.path))) for clip in table.clips]
    return CheckedList(
        name,
        path,
        clips,
        [f._replace(path=f.path and file_of(osp.join(root or '', f.path))) for f in findings],
        clip_len,
    )


def file_of(path: str) -> str:
    """The file of a clip; lists of FineGym leave out what their names end in."""
    if osp.splitext(path)[1] or osp.exists(path):
        return path
    return next((path + suffix for suffix in _SUFFIXES if osp.isfile(path + suffix)), path)


_SUFFIXES = ('.mp4', '.mkv', '.webm', '.avi')
_MARKS = (
    (b'\xef\xbb\xbf', 'it has a byte order mark'),
    (b'\xff\xfe\0\0', 'it is UTF-32'),
    (b'\0\0\xfe\xff', 'it is UTF-32'),
    (b'\xff\xfe', 'it is UTF-16'),
    (b'\xfe\xff', 'it is UTF-16'),
)


def check_repeats(lists: Sequence[CheckedList]) -> list[Finding]:
    """Clips that are listed twice, and clips, groups and contents that are in two lists at once."""
    findings = []
    first: dict[tuple, tuple] = {}
    groups: dict[str, dict] = {}
    for each in lists:
        for clip in each.clips:
            where = f'{each.name}:{clip.line}' if clip.line else each.name
            known = first.setdefault((clip.path, clip.start, clip.end), (each.name, where, clip.label))
            if known[1] != where:
                kind = 'duplicate' if known[0] == each.name else 'both splits'
                other = f', with the label {known[2]}' if known[2] != clip.label else ''
                findings.append(
                    Finding(kind, where, f'{osp.basename(clip.path)} is in {known[1]}, too{other}', clip.path)
                )
            if clip.group:
                groups.setdefault(clip.group, {})[each.name] = where
    findings += _shared_videos([each for each in lists if each.file])
    for group, places in groups.items():
        if len(places) > 1:
            findings.append(Finding('both splits', ' and '.join(places.values()), f'the group {group!r} is in both'))
    return findings


def _shared_videos(tables: Sequence[CheckedList]) -> list[Finding]:
    """Videos of which windows are in two tables. Official lists, which classes of their own read, are as published."""
    findings = []
    windows = {
        t.name: {clip.path for clip in t.clips if clip.start is not None or clip.end is not None} for t in tables
    }
    for (first, some), (second, others) in combinations(windows.items(), 2):
        shared = sorted(some & others)
        if shared:
            text = f'{len(shared)} videos have windows in both, such as {osp.basename(shared[0])}'
            findings.append(Finding('shared video', f'{first} and {second}', text))
    return findings


def check_contents(lists: Sequence[CheckedList]) -> list[Finding]:
    """Files of the same content under several names."""
    holders: dict[str, set] = defaultdict(set)
    for each in lists:
        for clip in each.clips:
            holders[clip.path].add(each.name)
    sizes: dict[int, list] = defaultdict(list)
    for path in holders:
        if Path(path).is_file() and Path(path).stat().st_size:
            sizes[Path(path).stat().st_size].append(path)
    digests: dict[str, list] = defaultdict(list)
    for paths in sizes.values():
        for path in paths if len(paths) > 1 else ():
            digests[_digest(path)].append(path)
    findings = []
    for paths in digests.values():
        for path in paths[1:]:
            apart = not holders[path] & holders[paths[0]]
            kind = 'both splits' if apart else 'duplicate'
            names = ' and '.join(sorted(holders[path] | holders[paths[0]]))
            findings.append(
                Finding(kind, names, f'{osp.basename(path)} is the same video as {osp.basename(paths[0])}', path)
            )
    return findings


def _digest(path: str) -> str:
    digest = hashlib.sha1()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_files(
    lists: Sequence[CheckedList],
    jobs: int,
    quick: bool,
    with_decord: bool,
    track: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> list[Finding]:
    """Look at each file once, several at a time.

    Args:
        lists: Lists.
        jobs: How many at a time.
        quick: See :func:`~mmdsts.footage.probe.probe`.
        with_decord: See there.
        track: Draws a bar around an iterable of that length. Defaults to none.
    """
    paths = list(dict.fromkeys(clip.path for each in lists for clip in each.clips))
    stopped = False

    def look(path: str) -> Probe | None:
        return None if stopped else probe(path, quick, with_decord)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            probes = dict(zip(paths, track(pool.map(look, paths), len(paths))))
        except BaseException:  # Ctrl-C: what has not begun is left alone
            stopped = True
            raise
    names = {clip.path: each.name for each in lists for clip in each.clips}
    findings = [Finding(kind, path, text, path) for path in paths for kind, text in probes[path].findings]
    for each in lists:
        for clip in each.clips:
            findings += _check_length(clip, probes[clip.path], each)
    return sorted(findings, key=lambda finding: names.get(finding.path or '', ''))


def _check_length(clip: TableClip, found: Probe, each: CheckedList) -> list[Finding]:
    if not found.frames:
        return []
    where = f'{each.name}:{clip.line}' if clip.line else each.name
    frames = found.frames
    if clip.start is not None or clip.end is not None:
        start, end = clip.start or 0, found.seconds if clip.end is None else clip.end
        if found.seconds and start >= found.seconds:
            text = f'starts at {start:g} s of {osp.basename(clip.path)}, which lasts {found.seconds:.1f} s'
            return [Finding('window', where, text, clip.path)]
        if found.seconds and end > found.seconds + 0.5:
            text = f'ends at {end:g} s of {osp.basename(clip.path)}, which lasts {found.seconds:.1f} s'
            return [Finding('window end', where, text, clip.path)]
        frames = round((end - start) * found.rate) if found.rate else frames
    if each.clip_len and frames < each.clip_len:
        text = f'{osp.basename(clip.path)} has {frames} frames, {each.clip_len} are sampled: some come twice'
        return [Finding('short', where, text, clip.path)]
    return []


def usable(each: CheckedList, findings: Iterable[Finding]) -> list[bool]:
    """Whether each clip of a list can be used: its file, its window and its label."""
    findings = list(findings)
    files = {finding.path for finding in findings if finding.kind in UNUSABLE}
    lines = {finding.where for finding in findings if finding.kind in ('window', 'label')}  # of a video with others
    return [clip.path not in files and f'{each.name}:{clip.line}' not in lines for clip in each.clips]


def counts_of(findings: Iterable[Finding]) -> Counter:
    """How many findings there are of each kind."""
    return Counter(finding.kind for finding in findings)
