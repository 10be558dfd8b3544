"""Checkpoints on disk: written whole or not at all, checked before they are trusted, the newest good one found."""

from __future__ import annotations

import inspect
import os
import re
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Iterable, NamedTuple

import torch

from mmdsts.errors import UsageError

#: What a run that was asked to end leaves behind, beside the checkpoints of whole epochs or intervals.
INTERRUPTED = 'interrupted.pth'
#: MMEngine's note of the last checkpoint: a text file with its path.
NOTE = 'last_checkpoint'
#: Ending of a file that is being written. It is no checkpoint yet.
PARTIAL = '.partial'


class CheckpointError(UsageError):
    """A checkpoint cannot be read, written or resumed from; the message says why, and what to do."""


class Resumable(NamedTuple):
    """What :func:`find_resumable` found.

    Attributes:
        path: The checkpoint to go on from; ``None`` where there is none.
        passed_over: Checkpoints that cannot be used, each with the reason.
    """

    path: str | None
    passed_over: dict[str, str]


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Write a file that appears under its name only when all of it is on the disk.

    The content goes into a file beside it, is flushed to the disk, and takes its place by a rename, which is one step
    for whoever looks, a crash included. Where writing fails, what was there before stays.

    Args:
        path: File to write; its folder is made if needed.
        content: All of it.

    Raises:
        OSError: The disk is full, the folder cannot be written to, and the like.
    """
    path = Path(path)
    partial = path.with_name(path.name + PARTIAL)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(partial, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        # A file cut short by a full disk would only take room.
        with suppress(OSError):
            partial.unlink()
        raise type(error)(error.errno, error.strerror, str(path)) from error
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Put the rename itself on the disk. Not every system and file system can; the file is whole either way."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_checkpoint(path: str | os.PathLike, verify: bool = True) -> dict[str, Any]:
    """Read a checkpoint and make sure that it is intact.

    The tensors stay in the file (it is mapped into memory) where torch can do that.

    Args:
        path: Local file.
        verify: Compare every byte with the checksums in the file, which ``torch.load`` does not. Defaults to True;
            without, a file that was cut short is recognized, and damage inside a tensor is not.

    Returns:
        Its content, on the CPU.

    Raises:
        CheckpointError: It is missing, empty, cut short, damaged, or no checkpoint at all.
    """
    path = os.fspath(path)
    options = {}
    try:
        with open(path, 'rb') as file:
            head = file.read(64)
        if zipfile.is_zipfile(path):  # what torch.save writes since torch 1.6
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip() if verify else None
            if damaged is not None:
                raise CheckpointError(f'{path}: damaged, {damaged!r} in it has another checksum than when it was saved')
            if 'mmap' in inspect.signature(torch.load).parameters:  # torch >= 2.1
                options['mmap'] = True
        else:
            _check_head(path, head)
        content = torch.load(path, map_location='cpu', **options)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f'{path}: cannot be read: {error.strerror or error}') from error
    except Exception as error:  # torch tells a broken file by whatever its unpickler stumbles over
        raise CheckpointError(f'{path}: not a checkpoint that torch can read ({_first_sentence(error)})') from error
    if not isinstance(content, dict):
        raise CheckpointError(f'{path}: holds a {type(content).__name__}, expected a dict of weights')
    return content


def _check_head(path: str, head: bytes) -> None:
    """Say what a file is that is no archive, where its first bytes tell."""
    size = os.path.getsize(path)
    text = head.lstrip().lower()
    if size == 0:
        reason = 'empty (0 bytes)'
    elif text.startswith((b'<!doctype', b'<html', b'<?xml')):
        reason = 'a web page, not a checkpoint: the address it was downloaded from gave a page; download it anew'
    elif text.startswith(b'version https://git-lfs'):
        reason = 'a pointer of Git LFS, not the checkpoint itself; get it with: git lfs pull'
    elif head.startswith(b'PK'):
        reason = f'cut short: the end of the file is missing ({size} bytes are there)'
    elif not any(head):
        reason = f'not a checkpoint: it begins with zeros ({size} bytes)'
    else:
        return
    raise CheckpointError(f'{path}: {reason}')


def _first_sentence(error: Exception) -> str:
    return re.split(r'\.\s|\n', str(error).strip() or type(error).__name__, maxsplit=1)[0]


def why_not_resumable(content: dict[str, Any]) -> str | None:
    """Why training cannot go on from the content of a checkpoint; ``None`` if it can."""
    meta = content.get('meta')
    if not isinstance(meta, dict) or not {'epoch', 'iter'} <= set(meta) or 'message_hub' not in content:
        return 'holds weights only, not the state of a training'
    return None


def saved_at(content: dict[str, Any]) -> tuple[float, int]:
    """When a checkpoint was saved, in seconds since 1970, and at which iteration; sorts checkpoints by age.

    The time comes from the checkpoint itself: that of the file changes when it is copied.
    """
    meta = content['meta']
    moment = meta.get('saved_at')
    if moment is None:
        try:
            moment = time.mktime(time.strptime(meta['time'], '%Y%m%d_%H%M%S'))
        except (KeyError, ValueError, OverflowError):
            moment = 0.0
    return float(moment), int(meta['iter'])


def checkpoint_names(templates: Iterable[str] = ()) -> re.Pattern:
    """Names that MMEngine's and our checkpoints of a training have, as a regular expression.

    Args:
        templates: File names with one ``{}`` for a number. Defaults to MMEngine's own two.
    """
    numbered = {'epoch_{}.pth', 'iter_{}.pth', *templates}
    parts = [re.escape(template).replace(re.escape('{}'), r'\d+') for template in sorted(numbered)]
    return re.compile('|'.join([*parts, re.escape(INTERRUPTED), r'best_.+\.pth']))


def list_checkpoints(folders: Iterable[str | os.PathLike], templates: Iterable[str] = ()) -> list[str]:
    """Checkpoints in some folders, by name only; where there are none, the one that a note there names.

    The note of a folder that was copied names a checkpoint of the original.

    Args:
        folders: Work dir and folder of the checkpoints; those that do not exist are passed over.
        templates: See :func:`checkpoint_names`.

    Returns:
        Paths, without repetition, in no particular order.
    """
    names = checkpoint_names(templates)
    folders = [Path(folder) for folder in folders if os.path.isdir(folder)]
    found = {
        os.path.abspath(path): str(path)
        for folder in folders
        for path in folder.iterdir()
        if names.fullmatch(path.name) and path.is_file()
    }
    if not found:
        notes = [folder / NOTE for folder in folders if (folder / NOTE).is_file()]
        noted = [note.read_text(errors='replace').strip().rstrip('\0') for note in notes]
        found = {os.path.abspath(path): path for path in noted if os.path.isfile(path)}
    return list(found.values())


def find_resumable(folders: Iterable[str | os.PathLike], templates: Iterable[str] = ()) -> Resumable:
    """The newest checkpoint that training can go on from, whatever a kill or a full disk left behind.

    The note of the last checkpoint is not relied on: it may be empty, or name a file that is gone.

    Args:
        folders: See :func:`list_checkpoints`.
        templates: See :func:`checkpoint_names`.

    Returns:
        The checkpoint and what was passed over.

    Raises:
        CheckpointError: There are checkpoints, but none that training can go on from.
    """
    reasons, best, ages = {}, {}, {}
    for path in list_checkpoints(folders, templates):
        try:
            content = read_checkpoint(path, verify=False)
        except CheckpointError as error:
            reasons[path] = _reason(error, path)
            continue
        reason = why_not_resumable(content)
        if Path(path).name.startswith('best_'):
            best[path] = 'holds the weights of the best score, not the state of a training'
        elif reason is not None:
            reasons[path] = reason
        else:
            ages[path] = saved_at(content)
    for path in sorted(ages, key=ages.get, reverse=True):
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            reasons[path] = _reason(error, path)
        else:
            return Resumable(path, reasons)
    reasons.update(best)
    if reasons:
        raise CheckpointError(
            f'{Path(next(iter(reasons))).parent} holds checkpoints, but none that training can go on from ('
            + '; '.join(f'{Path(path).name}: {reason}' for path, reason in reasons.items())
            + '). Nothing was changed. To begin from scratch, leave out --resume or take another work dir'
        )
    return Resumable(None, {})


def _reason(error: CheckpointError, path: str) -> str:
    return str(error).split(f'{path}: ', 1)[-1]
