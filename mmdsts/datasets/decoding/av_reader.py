"""Frames of a window of a video by their presentation times, with PyAV."""

from __future__ import annotations

import contextlib
import math
from typing import Any, Iterator, Sequence

import numpy as np

from mmdsts.errors import ClipError

from ..completeness import missing_bytes
from ..video import describe_error
from .window import name_clip

_CLOSE = 1e-6  # s; of two times as near as this, one was rounded
_SKIPPING = ('h264', 'hevc')  # decoders that look at each packet by itself when they are told what to leave out


class AvReader:
    """The frames that are shown from ``start`` on and before ``end``, and no others.

    Frames belong to the window by their own time stamps, so that a variable frame rate changes nothing. Only the part
    of the file from the keyframe before the window to its end is read, and no index is built: a window of a video of an
    hour opens as fast as a short clip. Of that part, frames that are not asked for and that no other frame needs are
    not decoded.

    Args:
        source (str or file object): The video.
        start (float, optional): Start of the window in seconds from the start of the file, as players and ffmpeg count.
            Defaults to None: the first frame.
        end (float, optional): End of the window, not in it. Defaults to None: after the last frame.
        num_threads (int): Threads that decode. Defaults to 1.

    Raises:
        ImportError: PyAV is not installed.
        ClipError: The file cannot be read, has no video or no times, or ends inside the window because it is
            incomplete.
    """

    def __init__(self, source: Any, start: float | None = None, end: float | None = None, num_threads: int = 1) -> None:
        self._source = source
        self._name = name_clip(source, start, end)
        self._num_threads = num_threads
        with self._errors_named():
            self._open()
            self._tick = float(self._stream.time_base)
            self._origin = (self._container.start_time or 0) / 1e6
            self._first = -math.inf if start is None else self._ticks(start)
            self._last = math.inf if end is None else self._ticks(end)
            self._lead = 0.0  # ticks before the window at which reading begins
            self._load()
        self._shown = sorted(
            {packet.pts for packet in self._packets if self._first <= packet.pts < self._last and not packet.is_discard}
        )

    def __len__(self) -> int:
        return len(self._shown)

    @property
    def times(self) -> np.ndarray:
        """When each frame is shown, in seconds from the start of the file; shape ``(frames,)``."""
        return np.array(self._shown) * self._tick - self._origin

    @property
    def duration(self) -> float | None:
        """Length of the file in seconds, if it says so."""
        return self._container.duration and self._container.duration / 1e6

    def get_avg_fps(self) -> float:
        """Frames a second, on average over the file."""
        return float(self._stream.average_rate or 0)

    def get_batch(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames of the window.

        Args:
            indices (Sequence[int]): Numbers of frames, from 0 at the start of the window, in any order.

        Returns:
            np.ndarray: Shape ``(frames, H, W, 3)``, RGB, turned as the file says it is to be shown.

        Raises:
            IndexError: The window has no such frame.
            ClipError: A frame cannot be decoded.
        """
        if not all(0 <= index < len(self) for index in indices):
            raise IndexError(f'frames {list(indices)} of a window of {len(self)} frames')
        wanted = {self._shown[index] for index in indices}
        with self._errors_named():
            frames = self._decode(wanted)
            # Where pictures are refreshed bit by bit, that of a keyframe may be complete only much later.
            while wanted - frames.keys() and not self._from_beginning:
                self._step_back()
                self._load()
                frames = self._decode(wanted)
        if lost := wanted - frames.keys():
            time = min(lost) * self._tick - self._origin
            raise ClipError(f'{self._name}: the frame at {time:.3f} s cannot be decoded')
        return np.stack([frames[self._shown[index]] for index in indices])

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        """PyAV's errors as those of this clip."""
        import av

        try:
            yield
        except av.error.FFmpegError as error:
            # Without a cause: it is the file that is to blame, and nobody needs to look at an hour of it to say so.
            raise ClipError(f'{self._name}: {describe_error(str(self._source), error)}') from None

    def _open(self) -> None:
        import av

        if hasattr(self._source, 'seek'):
            self._source.seek(0)
        self._container = av.open(self._source, metadata_errors='replace')
        if not self._container.streams.video:
            raise ClipError(f'{self._name}: the file has no video stream')
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count = self._num_threads
        self._moved = False

    def _ticks(self, seconds: float) -> int:
        """The first time stamp that is not before a time."""
        return math.ceil((seconds + self._origin - _CLOSE) / self._tick)

    @property
    def _from_beginning(self) -> bool:
        return self._first - self._lead <= (self._stream.start_time or 0)

    def _step_back(self) -> None:
        self._lead = max(2 * self._lead, 1 / self._tick)

    def _load(self) -> None:
        """Read packets from a keyframe that is shown no later than the first frame of the window.

        Containers seek by the times of decoding: the keyframe that they find may be shown after frames of the window,
        which belong to the one before.
        """
        while True:
            packets = list(self._read())
            keys = [i for i, packet in enumerate(packets) if packet.is_keyframe and packet.pts <= self._first]
            if keys or self._from_beginning:
                self._packets = packets[keys[-1] if keys else 0 :]
                return
            self._step_back()

    def _read(self) -> Iterator[Any]:
        if not self._from_beginning:
            self._container.seek(int(self._first - self._lead), stream=self._stream)
        elif self._moved:  # not every container can seek there
            self._open()
        self._moved = True
        keys_behind = 0
        for packet in self._container.demux(self._stream):
            if not packet.size:  # how PyAV marks the end
                break
            if packet.pts is None:
                raise ClipError(f'{self._name}: the file does not say when its frames are shown')
            keys_behind += packet.is_keyframe and packet.pts >= self._last
            # From here on every frame is shown after the window. Matroska leaves out some times of decoding.
            if (packet.dts is not None and packet.dts >= self._last) or keys_behind > 1:
                return
            yield packet
        if self._last < math.inf and isinstance(self._source, str) and (missing := missing_bytes(self._source)):
            raise ClipError(f'{self._name}: the file is incomplete, its last {missing} bytes are missing; get it anew')

    def _decode(self, wanted: set[int]) -> dict[int, np.ndarray]:
        context = self._stream.codec_context
        frames: dict[int, np.ndarray] = {}
        for packet in [*self._packets, None]:
            if context.name in _SKIPPING:
                context.skip_frame = 'DEFAULT' if packet is None or packet.pts in wanted else 'NONREF'
            for frame in context.decode(packet):
                if frame.pts in wanted:
                    frames[frame.pts] = _picture(frame)
            if len(frames) == len(wanted):
                break
        context.flush_buffers()
        return frames


def _picture(frame: Any) -> np.ndarray:
    turns = round(getattr(frame, 'rotation', 0) / 90)
    return np.rot90(frame.to_ndarray(format='rgb24'), turns)
