"""Frames of a window of a video by their presentation times, with decord."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

_CLOSE = 1e-6  # s; of two times as near as this, one was rounded


class DecordWindow:
    """The frames that are shown from ``start`` on and before ``end``, and no others.

    decord reads a whole file for its index when it opens it, seconds for a video of an hour, and where groups of
    pictures are open, or an edit list leaves frames out, it may give a neighbour of the frame that is asked for.

    Args:
        reader (decord.VideoReader): The video.
        start (float, optional): Start of the window in seconds. Defaults to None: the first frame.
        end (float, optional): End of the window, not in it. Defaults to None: after the last frame.
    """

    def __init__(self, reader: Any, start: float | None = None, end: float | None = None) -> None:
        self._reader = reader
        shown = reader.get_frame_timestamp(range(len(reader)))[:, 0]
        close = _CLOSE + np.spacing(np.abs(shown))  # decord gives times in float32, coarse after an hour
        shown = shown.astype(float)
        inside = np.ones(len(shown), bool)
        if start is not None:
            inside &= shown >= start - close
        if end is not None:
            inside &= shown < end - close
        self._indices = np.flatnonzero(inside)
        self.times = shown[inside]
        self.duration = float(shown[-1])

    def __len__(self) -> int:
        return len(self._indices)

    def get_avg_fps(self) -> float:
        """Frames a second, on average over the file."""
        return self._reader.get_avg_fps()

    def get_batch(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames of the window, numbered from 0 at its start: shape ``(frames, H, W, 3)``, RGB."""
        return self._reader.get_batch(self._indices[np.asarray(indices)]).asnumpy()
