"""Decoding clips: windows of a video of an hour against clips that were cut before, in seconds of one core."""

from __future__ import annotations

import resource
import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable

import cv2
import numpy as np
from mmaction.registry import TRANSFORMS
from mmengine.dataset import Compose

from mmdsts.datasets.decoding import AvReader, DecordWindow
from mmdsts.datasets.finegym_clips import cut_clip

from ..measure import Case, Settings, measure
from ..result import SuiteResult

FPS, WINDOW, CLIP_LEN = 25, 2, 8


@dataclass
class WindowSizes:
    """The made-up videos: a segment of some seconds, again and again until the video is as long as it is to be."""

    width: int = 1280
    height: int = 720
    segment: int = 20
    seconds: int = 3600


def run(settings: Settings, sizes: WindowSizes | None = None) -> SuiteResult:
    """Clips of 2 s at 25 frames a second, 8 frames of each, H.264 with B-frames and a keyframe each 5 s.

    Times are of the processor, those of ffmpeg's process included: what one core does in a second, however many there
    are and whatever else they do.

    Args:
        settings: See :class:`Settings`; decoding is on the CPU.
        sizes: Defaults to None, a video of an hour, 1280 x 720.
    """
    import av  # noqa: F401  the suite is about it
    import decord

    sizes = sizes or WindowSizes()
    with TemporaryDirectory() as folder:
        segment, hour, clip = (str(Path(folder) / name) for name in ('segment.mp4', 'hour.mp4', 'clip.mp4'))
        _write_segment(segment, sizes)
        repeats = sizes.seconds // sizes.segment
        _repeat(segment, hour, repeats)
        _write_segment(clip, sizes, WINDOW)
        # Off the keyframes, as elements are.
        places = dict(start=3.3, middle=sizes.seconds / 2 + 3.3, end=sizes.seconds - WINDOW - 0.7)
        size = Path(hour).stat().st_size / 2**20
        note = f'{sizes.width} x {sizes.height}, {repeats * sizes.segment} s, {size:.0f} MiB'

        decode, train = _pipeline(), _pipeline(_AUGMENTATION)
        runs: dict[str, Callable[[], Any]] = {'clip cut before: decode': lambda: decode(dict(filename=clip))}
        for place, start in places.items():
            runs[f'window at the {place}: decode'] = _of(decode, hour, start)
        middle = places['middle']
        kept = _KeptOpen(hour)
        runs['window in the middle, index kept: decode'] = lambda: kept.window(middle)
        runs['the same with decord, index read each time'] = lambda: _with_decord(_open(decord, hour), middle)
        reader = _open(decord, hour)
        runs['the same with decord, index kept'] = lambda: _with_decord(reader, middle)
        if shutil.which('ffmpeg'):
            for place, start in places.items():
                runs[f'cut at the {place} with ffmpeg'] = _cut(hour, start, str(Path(folder) / 'cut.mp4'))
        runs['clip cut before: training pipeline'] = lambda: train(dict(filename=clip))
        runs['window in the middle: training pipeline'] = _of(train, hour, middle)
        cases = [Case(name, once, samples=1, note=note, count=False) for name, once in runs.items()]
        return SuiteResult(measure('windows', cases, settings, clock=_processor_time), [])


#: Of configs/_base_/datasets/finegym99.py.
_AUGMENTATION = [
    dict(type='Resize', scale=(-1, 256)),
    dict(type='RandomResizedCrop', area_range=(0.4, 1.0)),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]


def _pipeline(more: list | None = None) -> Callable[[dict], Any]:
    steps = [
        dict(type='ClipInit'),
        dict(type='UniformSample', clip_len=CLIP_LEN),
        dict(type='ClipDecode'),
        *(more or []),
    ]
    compose = Compose([TRANSFORMS.build(step) for step in steps])
    return lambda sample: compose(dict(sample, start_index=0, modality='RGB', label=0))


def _of(pipeline: Callable, path: str, start: float) -> Callable[[], Any]:
    return lambda: pipeline(dict(filename=path, start=start, end=start + WINDOW))


def _indices(frames: int) -> np.ndarray:
    return np.linspace(0, frames - 1, CLIP_LEN).astype(int)


class _KeptOpen:
    """Windows of a file that stays open: what keeping its index would save."""

    def __init__(self, path: str) -> None:
        first = AvReader(path, 0, 1)

        class Reader(AvReader):
            def _open(self) -> None:
                self._container, self._stream, self._moved = first._container, first._stream, True

        self.window_of = lambda start: Reader(path, start, start + WINDOW)

    def window(self, start: float) -> np.ndarray:
        reader = self.window_of(start)
        return reader.get_batch(_indices(len(reader)))


def _open(decord: Any, path: str) -> Any:
    return decord.VideoReader(path, num_threads=1)


def _with_decord(reader: Any, start: float) -> np.ndarray:
    window = DecordWindow(reader, start, start + WINDOW)
    return window.get_batch(_indices(len(window)))


def _cut(path: str, start: float, out: str) -> Callable[[], None]:
    return lambda: cut_clip(path, (start, start + WINDOW), out)


def _processor_time() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def _write_segment(path: str, sizes: WindowSizes, seconds: int | None = None) -> None:
    """A camera over a picture of soft spots, with grain."""
    import av

    rng = np.random.default_rng(0)
    spots = rng.integers(0, 256, (24, 40, 3), dtype=np.uint8)
    picture = cv2.resize(spots, (2 * sizes.width, 2 * sizes.height), interpolation=cv2.INTER_CUBIC)
    with av.open(path, 'w') as container:
        stream = container.add_stream('libx264', rate=FPS)
        stream.width, stream.height, stream.pix_fmt = sizes.width, sizes.height, 'yuv420p'
        stream.gop_size = 5 * FPS
        stream.options = dict(preset='veryfast', bf='3', crf='26')
        for i in range((seconds or sizes.segment) * FPS):
            x, y = (int((1 + f(i / 20)) / 2 * size) for f, size in ((np.cos, sizes.width), (np.sin, sizes.height)))
            image = picture[y : y + sizes.height, x : x + sizes.width].copy()
            grain = rng.integers(0, 12, (sizes.height // 2, sizes.width // 2, 1), dtype=np.uint8)
            image = cv2.add(image, cv2.cvtColor(cv2.resize(grain, (sizes.width, sizes.height)), cv2.COLOR_GRAY2BGR))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(stream.encode())


def _repeat(segment: str, out: str, times: int) -> None:
    """A segment several times, without encoding it again."""
    import av

    with av.open(out, 'w') as container:
        stream = None
        for i in range(times):
            with av.open(segment) as source:
                template = source.streams.video[0]
                stream = stream or container.add_stream_from_template(template)
                ticks = round(Fraction(template.frames, FPS) / template.time_base) * i
                for packet in source.demux(template):
                    if packet.size:
                        packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, stream
                        container.mux(packet)
