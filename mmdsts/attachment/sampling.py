"""What the pipelines of a config hand to the model: found in their settings, without any data."""

from __future__ import annotations

from typing import Any, Iterator, NamedTuple

#: Loaders of a config, in the order in which they are asked.
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
#: Height and width where a pipeline changes neither: a fully convolutional backbone takes any.
_SIZE = (224, 224)


class Sampling(NamedTuple):
    """Frames that a pipeline takes from a video.

    Attributes:
        clip_len: Frames of a clip.
        num_clips: Clips of a video.
        size: Height and width of a frame.
        frames: Pictures of a view for a 2D recognizer: flow fields of a clip are channels of one.
        size_said: Whether the pipeline says the size; else it is 224 x 224 here.
    """

    clip_len: int
    num_clips: int
    size: tuple[int, int]
    frames: int
    size_said: bool


def sampling_of(cfg: Any, loaders: tuple[str, ...] = LOADERS) -> Sampling | None:
    """That of the first pipeline that says how long its clips are; ``None`` if no loader has one."""
    return next(
        (sampling for name in loaders for sampling in map(_sampling, _datasets(cfg.get(name))) if sampling), None
    )


def _sampling(dataset: dict) -> Sampling | None:
    steps = [step for step in dataset.get('pipeline') or [] if isinstance(step, dict)]
    sampling = next((step for step in steps if _clip_len(step)), None)
    if sampling is None:
        return None
    clip_len, num_clips = _clip_len(sampling), sampling.get('num_clips', 1)
    frames = num_clips if dataset.get('modality') == 'Flow' else clip_len * num_clips
    size = _size(steps)
    return Sampling(clip_len, num_clips, size or _SIZE, frames, size is not None)


def _clip_len(step: dict) -> int | None:
    value = step.get('clip_len')
    if isinstance(value, dict) and len(value) == 1:  # of the only modality
        (value,) = value.values()
    return value if isinstance(value, int) else None


def _size(steps: list[dict]) -> tuple[int, int] | None:
    for step in reversed(steps):
        size = step.get('crop_size', step.get('size'))
        if size is None and step.get('keep_ratio', True) is False:
            size = step.get('scale')
        if isinstance(size, int):
            return size, size
        if isinstance(size, (list, tuple)):  # (width, height)
            return size[1], size[0]
    return None


def _datasets(part: Any) -> Iterator[dict]:
    """The data sets inside loaders and wrappers such as ``RepeatDataset`` and ``ConcatDataset``."""
    if isinstance(part, (list, tuple)):
        for entry in part:
            yield from _datasets(entry)
    elif isinstance(part, dict):
        if 'pipeline' in part:
            yield part
        yield from _datasets(part.get('dataset'))
        yield from _datasets(part.get('datasets'))
