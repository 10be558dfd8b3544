"""A contact sheet: one row a class, time to the right."""

from __future__ import annotations

import cv2
import numpy as np

from .elements import ELEMENTS
from .generate import ToyGymSpec, make_clip


def contact_sheet(
    spec: ToyGymSpec, split: str = 'train', index: int = 0, columns: int = 8, zoom: int = 2
) -> np.ndarray:
    """Picture with ``columns`` frames (every second one) of one clip of every class.

    Args:
        spec (ToyGymSpec): Parameters of the set; nothing needs to be on disk.
        split (str): ``'train'`` or ``'val'``. Defaults to ``'train'``.
        index (int): Which clip of each class. Defaults to 0.
        columns (int): Frames shown. Defaults to 8.
        zoom (int): Enlargement of the frames. Defaults to 2.

    Returns:
        np.ndarray: RGB picture, uint8 ``(rows, columns, 3)``.
    """
    rows = []
    for label, element in enumerate(ELEMENTS):
        frames = make_clip(spec, split, label, index)[::2][:columns]
        strip = np.concatenate(list(frames), axis=1)
        strip = cv2.resize(strip, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        title = np.full((22, strip.shape[1], 3), 255, dtype=np.uint8)
        cv2.putText(
            title, f'{label}: {element.name}', (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA
        )
        rows += [title, strip]
    return np.concatenate(rows)
