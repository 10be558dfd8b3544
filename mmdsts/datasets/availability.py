"""Which clips of an annotation list are there: a download of FineGym or Diving48 is rarely complete."""

from __future__ import annotations

import logging
import os
import os.path as osp

from mmengine.logging import print_log

#: What to do about clips whose file is not there.
MISSING = ('error', 'skip')

_NAMES = 3  # names printed of what is missing


def select_available(
    data_list: list[dict], directory: str, missing: str, source: str, classes: list[str] | None = None
) -> list[dict]:
    """The clips whose file is there, with a log line that says how many of how many clips and classes are
    left.

    A file of zero bytes, as an interrupted download leaves it, counts as missing.

    Args:
        data_list (list[dict]): Clips with ``filename`` and ``label``, all in ``directory``.
        directory (str): Where the files are.
        missing (str): ``'error'``: all have to be there. ``'skip'``: the others are left out.
        source (str): What the log and the errors call the list.
        classes (list[str], optional): Names of the labels. Defaults to None: the labels.

    Returns:
        list[dict]: The clips that are there, in their order.

    Raises:
        FileNotFoundError: The directory is not there, or no clip is, or with ``missing='error'`` one is not.
    """
    check_folder(directory, source)
    with os.scandir(directory) as entries:
        sizes = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    there = [bool(sizes.get(osp.basename(clip['filename']))) for clip in data_list]
    return keep_available(data_list, there, directory, missing, source, classes)


def check_folder(directory: str, source: str) -> None:
    """FileNotFoundError if the folder of the clips is not there; ``source`` is what the error calls the list."""
    if not osp.isdir(directory):
        raise FileNotFoundError(
            f'{source}: the folder of the clips, {directory!r}, is not there; set '
            'data_prefix=dict(video=...) to it (and data_root, if that is used)'
        )


def keep_available(
    data_list: list[dict],
    there: list[bool],
    directory: str,
    missing: str,
    source: str,
    classes: list[str] | None = None,
) -> list[dict]:
    """The clips that are there, as :func:`select_available`, which of them was found out by the caller.

    Args:
        data_list (list[dict]): Clips with ``filename``, by which the log calls those that are missing, and ``label``.
        there (list[bool]): Whether each is there.
        directory (str): Where they were looked for.
        missing (str): See :func:`select_available`.
        source (str): See there.
        classes (list[str], optional): See there. Defaults to None.
    """
    present = [clip for clip, found in zip(data_list, there) if found]
    absent = [clip for clip, found in zip(data_list, there) if not found]
    if not absent:
        return present

    share = f'{len(absent)} of {len(data_list)} clips are missing in {directory!r}'
    names = _few([osp.basename(clip['filename']) for clip in absent])
    if not present:
        raise FileNotFoundError(f'{source}: {share} ({names}), that is all; check data_prefix and suffix')
    if missing == 'error':
        raise FileNotFoundError(
            f"{source}: {share} ({names}); complete the download, or set missing='skip' "
            f'to use the {len(present)} that are there'
        )

    all_labels, labels = {clip['label'] for clip in data_list}, {clip['label'] for clip in present}
    lost = sorted(all_labels - labels)
    lost_names = _few([classes[label] if classes else str(label) for label in lost])
    print_log(
        f'{source}: {share} ({names}); using the {len(present)} others, of {len(labels)} of {len(all_labels)}'
        ' classes' + (f' (without a clip: {lost_names})' if lost else '') + '. Results on a part of the '
        'clips are not comparable with results on all.',
        logger='current',
        level=logging.WARNING,
    )
    return present


def check_missing(missing: str) -> str:
    """``missing`` if it is a known choice; ValueError otherwise."""
    if missing not in MISSING:
        raise ValueError(f'missing must be one of {MISSING}, got {missing!r}')
    return missing


def drop_repeats(data_list: list[dict], source: str) -> list[dict]:
    """Each clip once, in the order of first appearance; how many were dropped is logged.

    Raises:
        ValueError: A clip appears with two labels.
    """
    first: dict[str, dict] = {}
    for clip in data_list:
        known = first.setdefault(clip['filename'], clip)
        if known['label'] != clip['label']:
            raise ValueError(
                f'{source}: {osp.basename(clip["filename"])!r} has label {known["label"]} and, '
                f'further down, {clip["label"]}; a clip has one label: remove one of the two'
            )
    repeats = len(data_list) - len(first)
    if repeats:
        print_log(f'{source}: {repeats} lines repeat a clip and are left out', 'current', logging.WARNING)
    return list(first.values())


def _few(names: list[str]) -> str:
    return ', '.join(names[:_NAMES]) + (f', and {len(names) - _NAMES} more' if len(names) > _NAMES else '')
