"""How a part of a video is called in messages."""

from __future__ import annotations


def name_clip(path: object, start: float | None = None, end: float | None = None) -> str:
    """Name of a clip: its file and, where it is a window of that, start and end in seconds."""
    if start is None and end is None:
        return f'clip {path}'
    return f'clip {path}, {start or 0:.3f} s to {"the end" if end is None else f"{end:.3f} s"}'
