"""Videos whose frames carry their own number: 24 squares for its bits, and 24 for their opposites."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Sequence

import numpy as np

TICK = Fraction(1, 90000)
SIZE = 64, 48


def picture(number: int) -> np.ndarray:
    """The frame of a number, ``(48, 64, 3)``."""
    bits = [number >> i & 1 for i in range(24)]
    squares = np.array([*bits, *(1 - bit for bit in bits)], np.uint8).reshape(6, 8)
    return np.stack([np.kron(squares, np.ones((8, 8), np.uint8)) * 200 + 20] * 3, -1)


def number(frame: np.ndarray) -> int:
    """The number that a decoded frame carries."""
    bits = frame.reshape(6, 8, 8, 8, 3)[:, 2:6, :, 2:6].mean((1, 3, 4)).ravel() > 120
    assert (bits[:24] != bits[24:]).all(), 'not a whole frame'
    return sum(int(bit) << i for i, bit in enumerate(bits[:24]))


def write_numbered(
    path: Path, times: Sequence[float], codec: str = 'libx264', gop: int = 24, size: tuple = SIZE, **options: str
) -> str:
    """Write a video of frames 0, 1, ... shown at some times (seconds); the path."""
    import av

    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, 'yuv420p'
        stream.codec_context.time_base = TICK
        stream.gop_size = gop
        stream.options = options
        for i, time in enumerate(times):
            image = picture(i)
            if size != SIZE:
                image = np.resize(image, (size[1], size[0], 3))
            frame = av.VideoFrame.from_ndarray(image, format='rgb24')
            frame.pts, frame.time_base = round(time / TICK), TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)
