"""A prediction drawn below the frames of its video, as a picture or a video."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Iterator

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mmdsts.errors import UsageError

from .demo import Prediction

PICTURES = ('.png', '.jpg', '.jpeg')
VIDEOS = ('.mp4', '.gif')

_WIDTH, _HEIGHT = 640, 400  # pixels of a frame; even numbers, as encoders want them
_STRIP = 4  # frames in a picture
_GIF_FRAMES = 60


def check_output(out: str) -> None:
    """UsageError if the ending of ``out`` is none that can be written."""
    if Path(out).suffix.lower() not in PICTURES + VIDEOS:
        raise UsageError(f'{out}: expected a name that ends in one of {", ".join(PICTURES + VIDEOS)}')


def draw_prediction(prediction: Prediction, video: str, out: str) -> Path:
    """Write the video with the prediction below its frames.

    Args:
        prediction: What to draw.
        video: The video that it is about.
        out: ``.png`` or ``.jpg``: four frames in a row. ``.mp4``: all frames. ``.gif``: at most 60.

    Returns:
        ``out`` as a path.

    Raises:
        UsageError: Another ending, or the file cannot be written.
    """
    check_output(out)
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lower()
    if suffix in PICTURES:
        written = _write_picture(prediction, video, path)
    elif suffix == '.gif':
        written = _write_gif(prediction, video, path)
    else:
        written = _write_video(prediction, video, path)
    if not written:
        raise UsageError(f'{out}: could not be written')
    return path


def draw_panel(prediction: Prediction, width: int = _WIDTH) -> np.ndarray:
    """Draw bars of the best classes beside a map of the active neurons.

    Args:
        prediction: What to draw.
        width: Pixels. Defaults to the width of a frame.

    Returns:
        Picture as OpenCV has it: BGR, uint8, shape ``(H, width, 3)``, ``H`` even.
    """
    layers = 0 if prediction.active is None else len(prediction.active)
    dpi = width / 6.4
    height = 2 * round(0.12 * (max(len(prediction.labels), layers) + 2) * dpi)
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi, layout='constrained')
    bars, neurons = figure.subplots(1, 2, width_ratios=(3, 2))
    ranks = range(len(prediction.labels))
    bars.barh(ranks, prediction.scores, color='tab:blue', alpha=0.35)
    for rank, score, label, name in zip(ranks, prediction.scores, prediction.labels, prediction.names):
        name = name if len(name) <= 60 else name[:59] + '…'
        bars.text(0.01, rank, f'{score:.1%}  {label}: {name}', va='center', fontsize=7, clip_on=True)
    bars.set(xlim=(0, 1), xticks=[], yticks=[])
    bars.invert_yaxis()
    bars.set_title('class probabilities', fontsize=8)
    if layers:
        rows = [np.bincount(row, minlength=prediction.num_neurons) for row in prediction.active.numpy()]
        neurons.imshow(np.stack(rows) / prediction.active.shape[1], vmin=0, vmax=1, cmap='Greens', aspect='auto')
        neurons.set(xticks=range(prediction.num_neurons), yticks=range(layers))
        neurons.tick_params(labelsize=6, length=0)
        neurons.set_xlabel('neuron', fontsize=6)
        neurons.set_ylabel('layer', fontsize=6)
        neurons.set_title('active neurons', fontsize=8)
    else:
        neurons.set_axis_off()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., 2::-1])


def _write_picture(prediction: Prediction, video: str, path: Path) -> bool:
    frames = [
        cv2.resize(frame, (_WIDTH // 2, _HEIGHT // 2), interpolation=cv2.INTER_AREA)
        for frame in _frames(video, _spread(_count_frames(video), _STRIP))
    ]
    strip = np.concatenate(frames + [np.zeros_like(frames[0])] * (_STRIP - len(frames)), axis=1)
    return cv2.imwrite(str(path), np.concatenate([strip, draw_panel(prediction, strip.shape[1])]))


def _write_gif(prediction: Prediction, video: str, path: Path) -> bool:
    count, panel = _count_frames(video), draw_panel(prediction)
    kept = [_palette_image(np.concatenate([frame, panel])) for frame in _frames(video, _spread(count, _GIF_FRAMES))]
    milliseconds = 1000 * count / _frames_per_second(video) / len(kept)
    kept[0].save(path, save_all=True, append_images=kept[1:], duration=milliseconds, loop=0)
    return True


def _palette_image(picture: np.ndarray) -> Image.Image:
    # The octree is several times faster than Pillow's default for colours.
    rgb = Image.fromarray(np.ascontiguousarray(picture[..., ::-1]))
    return rgb.quantize(method=Image.Quantize.FASTOCTREE)


def _write_video(prediction: Prediction, video: str, path: Path) -> bool:
    panel = draw_panel(prediction)
    writer = cv2.VideoWriter(
        str(path),
        cv2.VideoWriter_fourcc(*'mp4v'),
        _frames_per_second(video),
        (_WIDTH, _HEIGHT + panel.shape[0]),
    )
    opened = writer.isOpened()
    for frame in _frames(video) if opened else ():
        writer.write(np.concatenate([frame, panel]))
    writer.release()
    return opened


def _frames_per_second(video: str) -> float:
    capture = cv2.VideoCapture(video)
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return rate if rate > 0 else 25.0


def _count_frames(video: str) -> int:
    """Frames that can be decoded; what the file says of itself may be wrong, or missing."""
    capture, count = cv2.VideoCapture(video), 0
    while capture.grab():
        count += 1
    capture.release()
    return count


def _frames(video: str, wanted: set | None = None) -> Iterator[np.ndarray]:
    """Frames as BGR, uint8, shape (400, 640, 3), the picture centred on black: all, or those of the wanted numbers."""
    capture = cv2.VideoCapture(video)
    for number in itertools.count():
        if not capture.grab():
            break
        if wanted is not None and number not in wanted:
            continue
        decoded, frame = capture.retrieve()
        if not decoded:
            continue
        scale = min(_WIDTH / frame.shape[1], _HEIGHT / frame.shape[0])
        width, height = round(frame.shape[1] * scale), round(frame.shape[0] * scale)
        top, left = (_HEIGHT - height) // 2, (_WIDTH - width) // 2
        page = np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)
        page[top : top + height, left : left + width] = cv2.resize(frame, (width, height))
        yield page
    capture.release()


def _spread(total: int, count: int) -> set:
    """At most ``count`` numbers below ``total``, spread evenly from the first to the last."""
    if total <= count:
        return set(range(total))
    return {round(i * (total - 1) / (count - 1)) for i in range(count)}
