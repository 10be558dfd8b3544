"""Atomic writing where MMEngine writes through a file backend."""

from __future__ import annotations

import os

from mmengine.fileio import LocalBackend, register_backend

from .checkpoint_files import write_atomically

#: Name to ask for it by: ``backend_args=dict(backend='atomic')``.
ATOMIC = 'atomic'


class AtomicLocalBackend(LocalBackend):
    """MMEngine's backend for local files, whose files appear only when they are complete."""

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Write bytes, see :func:`~mmdsts.engine.checkpoint_files.write_atomically`."""
        write_atomically(filepath, obj)

    def put_text(self, obj: str, filepath: str | os.PathLike, encoding: str = 'utf-8') -> None:
        """Write text likewise."""
        write_atomically(filepath, obj.encode(encoding))


class PatientBackend(AtomicLocalBackend):
    """The same, but it removes a file only when told that what replaces it is there.

    MMEngine's checkpoint hook removes the best checkpoint so far before it writes the new one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._outdated: list[str] = []

    def remove(self, filepath: str | os.PathLike) -> None:
        """Remember to remove this file."""
        self._outdated.append(os.fspath(filepath))

    def remove_outdated(self, keep: set[str]) -> None:
        """Remove the remembered files, except those that have been written anew under the same name."""
        outdated, self._outdated = self._outdated, []
        for path in outdated:
            if path not in keep and self.isfile(path):
                super().remove(path)


register_backend(ATOMIC, AtomicLocalBackend, force=True)
