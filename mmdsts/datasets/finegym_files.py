"""Which files of a FineGym download hold which elements, in any of the usual layouts."""

from __future__ import annotations

import logging
import os
import re
from typing import Iterator, NamedTuple

from mmengine.logging import print_log

from .finegym_windows import ElementTime, named_window

#: Endings that video downloaders give.
VIDEO_SUFFIXES = ('.mp4', '.mkv', '.webm')

_ELEMENT = re.compile(r'[\w-]{11}_E_\d{6}_\d{6}_A_\d{4}_\d{4}')
_EVENT = re.compile(r'[\w-]{11}_E_\d{6}_\d{6}')
_EVENT_LENGTH = 27  # characters of its name, with which that of an element begins
# As download programs name files: by the id, or with it behind a title. Streams of one file that were not joined yet
# (ID.f137.mp4) and files that are being written (ID.temp.mp4) are left out.
_VIDEO = tuple(map(re.compile, (r'.*\[([\w-]{11})\]', r'.*[- ]([\w-]{11})', r'([\w-]{11})[. ].*')))
_PART = re.compile(r'E_\d{6}_\d{6}|A_\d{4}_\d{4}')
_UNFINISHED = re.compile(r'.*\.(?:f\d+|temp)')


class FineGymFile(NamedTuple):
    """Where an element is.

    Attributes:
        path: The file.
        kind: What it holds: the element (``'clip'``), its ``'event'`` or the whole ``'video'``.
    """

    path: str
    kind: str

    def window(self, clip: str, times: dict[str, ElementTime]) -> tuple[float, float] | None:
        """Start and end of an element in seconds of this file; None where the file is the element.

        Args:
            clip: Name of the element.
            times: What the temporal annotation says; for others the name counts, see
                :func:`~mmdsts.datasets.finegym_windows.named_window`.
        """
        if self.kind == 'clip':
            return None
        if clip not in times:
            return named_window(clip, self.kind == 'event')
        time = times[clip]
        offset = 0.0 if self.kind == 'event' else time.event_start
        return offset + time.start, offset + time.end


class FineGymFiles:
    """The videos in a folder and the folders in it, by the names that FineGym's users give them.

    Elements are ``VIDEO_E_START_END_A_START_END``, events ``VIDEO_E_START_END``, whole videos have the YouTube id as
    their name, or in it as download programs write it (``TITLE [VIDEO]``, ``TITLE-VIDEO``). The parts of a name may
    also be names of folders inside each other (``VIDEO/E_START_END/A_START_END.mp4``). Empty files, as interrupted
    downloads leave them, do not count. Folders that must not be read are passed over, with a log line. No file is
    opened.

    Args:
        folder: Where to look; may have any folders in it.
        suffix: Ending of the files that are taken first, before ``.mp4``, ``.mkv`` and ``.webm``. Defaults to
            ``'.mp4'``.
    """

    def __init__(self, folder: str, suffix: str = '.mp4') -> None:
        suffixes = list(dict.fromkeys([suffix.lower(), *VIDEO_SUFFIXES]))
        self._files: dict[str, tuple[tuple, FineGymFile]] = {}
        for entry, parents in _walk(folder):
            stem, ending = os.path.splitext(entry.name)
            if ending.lower() in suffixes and not _UNFINISHED.fullmatch(stem) and entry.stat().st_size:
                for name, kind, rank in _names(stem, parents):
                    order = rank, suffixes.index(ending.lower()), entry.path
                    if name not in self._files or order < self._files[name][0]:
                        self._files[name] = order, FineGymFile(entry.path, kind)

    def find(self, clip: str) -> FineGymFile | None:
        """The file of an element: its own if there is one, else that of its event, else the whole video; or None."""
        for name in (clip, clip[:_EVENT_LENGTH], clip[:11]):
            if name in self._files:
                return self._files[name][1]
        return None


def _walk(folder: str) -> Iterator[tuple[os.DirEntry, tuple]]:
    """Files below a folder, and the names of the folders they are in, outermost first."""
    folders = [(folder, (), frozenset())]
    while folders:
        path, parents, above = folders.pop()
        real = os.path.realpath(path)
        if real in above:  # a link to a folder that it is in
            continue
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    try:
                        is_folder, is_file = entry.is_dir(), entry.is_file()
                    except OSError:  # a link that leads to itself
                        continue
                    if is_folder:
                        folders.append((entry.path, (*parents, entry.name), above | {real}))
                    elif is_file:
                        yield entry, parents
        except PermissionError as error:  # as of lost+found at the top of a disk
            print_log(f'{path}: {error.strerror}; not looked into', logger='current', level=logging.WARNING)


def _names(stem: str, parents: tuple) -> Iterator[tuple[str, str, int]]:
    """What a file may hold: name, kind, and how far its own name is from that."""
    for depth in range(min(len(parents), 2) + 1):
        name = '_'.join([*parents[len(parents) - depth :], stem])
        for kind, pattern in (('clip', _ELEMENT), ('event', _EVENT)):
            if pattern.fullmatch(name):
                yield name, kind, depth
                return
    if _PART.search(stem):  # of an element or event under a name that says no more, as of an interrupted cut
        return
    if len(stem) == 11:
        yield stem, 'video', 0
    for pattern in _VIDEO:  # the last word of a title may be as long as an id
        if found := pattern.fullmatch(stem):
            yield found[1], 'video', 1
    if parents and len(parents[-1]) == 11:
        yield parents[-1], 'video', 2


def count_kinds(files: list[FineGymFile]) -> str:
    """How many elements are in files of each kind, in words."""
    words = dict(clip='in clips of their own', event='as windows of event clips', video='as windows of whole videos')
    counts = {kind: sum(file.kind == kind for file in files) for kind in words}
    return ', '.join(f'{count} {words[kind]}' for kind, count in counts.items() if count) or 'none'


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder or in it."""
    path, folder = os.path.abspath(path), os.path.abspath(folder)
    return os.path.commonpath([path, folder]) == folder


def folder_below(path: str, folder: str) -> str:
    """The folder directly in ``folder`` that leads to a path below it; ``folder`` itself if the path is that."""
    rest = os.path.relpath(path, folder)
    return folder if rest == '.' else os.path.join(folder, rest.split(os.sep)[0])
