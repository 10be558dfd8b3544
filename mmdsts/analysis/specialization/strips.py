"""Film strips of the clips that activate a neuron most."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from mmdsts.engine.hooks.visualization_hook import first_view

from .collect import Record

FRAMES = 6
HEIGHT = 72  # pixels of a frame


class Clip(NamedTuple):
    """A clip that activates a neuron.

    Attributes:
        position: Which clip of the record.
        label: Its class.
        prediction: The class that the model gives it.
        lead: How far the neuron's pulse lies above that of the runner-up.
    """

    position: int
    label: int
    prediction: int
    lead: float


def most_active(record: Record, layer: int, neuron: int, count: int = 3) -> list[Clip]:
    """Clips that activate a neuron, those with the largest lead over the runner-up first, at most ``count``."""
    leads = record.leads[layer, :, neuron]
    clips = np.flatnonzero(record.neurons[layer] == neuron)
    chosen = clips[np.argsort(-leads[clips], kind='stable')][:count]
    return [Clip(int(i), int(record.labels[i]), int(record.predictions[i]), float(leads[i])) for i in chosen]


def film_strip(dataset: Any, index: int) -> np.ndarray | None:
    """Frames of a clip side by side, as the model gets them.

    Args:
        dataset: MMAction2 data set of videos or frames.
        index: Which clip; of several views the first is drawn.

    Returns:
        RGB, uint8, shape ``(72, W, 3)``: at most 6 frames, spread evenly; ``None`` for inputs that are no frames.
    """
    try:
        frames = first_view(dataset[index]['inputs']).permute(1, 2, 3, 0).numpy()
    except ValueError:
        return None
    chosen = np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int)
    width = round(frames.shape[2] * HEIGHT / frames.shape[1])
    how = cv2.INTER_AREA if frames.shape[1] > HEIGHT else cv2.INTER_CUBIC
    resized = [cv2.resize(frames[i].astype(np.uint8), (width, HEIGHT), interpolation=how) for i in chosen]
    return np.concatenate(resized, axis=1)


def stack(strips: list[np.ndarray]) -> np.ndarray:
    """Strips below one another, a little apart, on white."""
    width = max(strip.shape[1] for strip in strips)
    rows = [np.pad(s, ((0, 4), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    return np.concatenate(rows)


def encode(picture: np.ndarray, suffix: str) -> bytes:
    """Content of a picture file, ``'.png'`` or ``'.jpg'``, from RGB."""
    return cv2.imencode(suffix, np.ascontiguousarray(picture[..., ::-1]))[1].tobytes()
