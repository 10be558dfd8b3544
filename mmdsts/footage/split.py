"""Training and held-out clips, such that no group is on both sides."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import NamedTuple, Sequence

from mmdsts.datasets.clip_table import TableClip
from mmdsts.errors import UsageError


class Split(NamedTuple):
    """Clips by split, and how sure one can be of what is measured on them.

    Attributes:
        clips: ``'train'``, ``'val'`` and maybe ``'test'`` to clips.
        rule: How it was split, in words.
        warnings: What is wrong with it, a sentence each.
    """

    clips: dict
    rule: str
    warnings: list


def split_clips(clips: Sequence[TableClip], share: float = 0.25, seed: int = 0) -> Split:
    """Split clips by the splits that they name, else by group, else by video at random.

    Args:
        clips: All clips.
        share: Share of the clips of each class to hold out, as nearly as whole groups allow. Defaults to 0.25.
        seed: Of the order in which groups of the same size are tried. Defaults to 0.

    Raises:
        UsageError: Some clips name a split and others do not, or one side would be empty.
    """
    named = [clip for clip in clips if clip.split]
    if named:
        if len(named) < len(clips):
            clip = next(clip for clip in clips if not clip.split)
            raise UsageError(f'{clip.path} (line {clip.line}) names no split, and {len(named)} other clips do')
        return _as_named(clips)
    groups = {clip.group for clip in clips if clip.group}
    without = sum(not clip.group for clip in clips)
    warnings = []
    if len(groups) > 1 or (groups and without):
        if without:
            warnings.append(f'{without} clips have no group; each of their videos was taken for one')
        parts = _hold_out(clips, [clip.group or clip.path for clip in clips], share, seed)
        rule = f'by group: {len(groups)} groups, none of them on both sides'
    else:
        parts = _hold_out(clips, [clip.path for clip in clips], share, seed)
        rule = 'at random'
        warnings.append(
            'no groups are known, so the split is random: clips of one person, match or camera may be on both sides, '
            'and a network that knows them by their background looks better than it is. Say what belongs together '
            'by a column group of a table, by folders inside those of the classes, or by --pattern'
        )
    split = Split(parts, rule, warnings)
    _check(split, clips)
    return split


def _as_named(clips: Sequence[TableClip]) -> Split:
    parts: dict[str, list] = {}
    for clip in clips:
        parts.setdefault(clip.split, []).append(clip)
    if 'val' not in parts and 'test' in parts:
        parts['val'] = parts.pop('test')
    split = Split(parts, 'as it was given', [])
    if not parts.get('train') or not parts.get('val'):
        raise UsageError(f'the clips name the splits {sorted(parts)}; expected train and one of val and test')
    sides: dict[str, set] = {}
    for name, part in parts.items():
        for clip in part:
            if clip.group:
                sides.setdefault(clip.group, set()).add(name)
    crossing = sorted(group for group, names in sides.items() if len(names) > 1)
    if crossing:
        split.warnings.append(f'{len(crossing)} groups are in several splits, such as {crossing[0]!r}')
    _check(split, clips)
    return split


def _check(split: Split, clips: Sequence[TableClip]) -> None:
    for name, part in split.clips.items():
        missing = sorted({clip.label for clip in clips} - {clip.label for clip in part})
        if missing:
            more = f' and {len(missing) - 3} more' if len(missing) > 3 else ''
            split.warnings.append(f'{name} has no clip of {", ".join(missing[:3])}{more}')


def _hold_out(clips: Sequence[TableClip], groups: Sequence[str], share: float, seed: int) -> dict[str, list]:
    """Choose the groups whose clips come nearest to the wanted share of every class.

    Groups, the largest first, are moved to or fro where that brings the held-out counts nearer, until none does. The
    last group with clips of a class is not held out: a class without training clips cannot be learned.
    """
    counts: dict[str, Counter] = {}
    for clip, group in zip(clips, groups):
        counts.setdefault(group, Counter())[clip.label] += 1
    total = Counter(clip.label for clip in clips)
    order = sorted(counts)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda group: -sum(counts[group].values()))
    held: Counter = Counter()
    chosen: dict[str, bool] = dict.fromkeys(counts, False)

    def gain(group: str) -> float:
        """By how much moving a group lowers the sum over classes of squared errors of the share."""
        sign = -1 if chosen[group] else 1
        change = 0.0
        for label, count in counts[group].items():
            now, then = held[label], held[label] + sign * count
            if then >= total[label]:
                return -math.inf
            wanted = share * total[label]
            change += ((now - wanted) ** 2 - (then - wanted) ** 2) / total[label] ** 2
        return change

    def move(group: str) -> None:
        sign = -1 if chosen[group] else 1
        for label, count in counts[group].items():
            held[label] += sign * count
        chosen[group] = not chosen[group]

    moved = True
    while moved:  # ends: each move lowers the error
        moved = False
        for group in order:
            if gain(group) > 1e-12:
                move(group)
                moved = True
    best = max(order, key=gain)
    if not any(chosen.values()) and gain(best) > -math.inf:
        move(best)  # more than the wanted share, as where there are two groups: better than none
    parts: dict[str, list] = dict(train=[], val=[])
    for clip, group in zip(clips, groups):
        parts['val' if chosen[group] else 'train'].append(clip)
    if not parts['val']:
        raise UsageError(
            f'none of {len(clips)} clips can be held out: no class has clips of two groups or more (of two videos, '
            'where no groups are known)'
        )
    return parts
