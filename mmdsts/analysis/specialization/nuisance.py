"""What varies between clips and says nothing about the class, where a data set knows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np

from mmdsts.toygym import Nuisance, read_nuisances
from mmdsts.toygym.generate import MANIFEST

#: Levels that a factor with many values is cut into, with as many clips each.
LEVELS = 4

#: Factors of a ToyGym clip that can be seen in it.
TOYGYM: dict[str, Callable[[Nuisance], float]] = {
    'facing left or right': lambda n: n.facing,
    'legs swapped': lambda n: n.swap_legs,
    'start phase': lambda n: n.salto_phase,
    'speed': lambda n: n.speed,
    'size of the figure': lambda n: n.size,
    'place in the picture': lambda n: n.offset[0],
    'camera angle': lambda n: n.yaw,
    'camera pan': lambda n: n.pan[0],
    'brightness of the wall': lambda n: np.mean(n.wall),
    'brightness of the suit': lambda n: np.mean(n.suit),
}


def nuisances_of(dataset: Any, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Nuisance factors of clips, as whole numbers from 0.

    Args:
        dataset: MMAction2 data set. FineGym lists know the source video of a clip; ToyGym's manifest holds what every
            clip was drawn from.
        indices: Which clips.

    Returns:
        By name, shape ``(len(indices),)``; empty where nothing is known.

    Raises:
        ValueError: A ToyGym set was made by another version of this package.
    """
    infos = [dataset.get_data_info(int(index)) for index in indices]
    found = {}
    videos = [info.get('video_id') for info in infos]
    # Where each clip has a video of its own, that says nothing beyond which clip it is.
    if None not in videos and len(set(videos)) <= len(videos) / 2:
        found['source video'] = np.unique(videos, return_inverse=True)[1]
    folder = Path(dataset.ann_file).parent
    if (folder / MANIFEST).is_file():
        drawn = read_nuisances(folder)
        clips = [drawn[Path(info['filename']).stem] for info in infos]
        found.update({name: levels([value(clip) for clip in clips]) for name, value in TOYGYM.items()})
    return {name: values for name, values in found.items() if values.max() > 0}


def levels(values: Sequence[float]) -> np.ndarray:
    """Number values from 0, at most :data:`LEVELS` of them: more are cut where as many clips lie in each part."""
    values = np.asarray(values, dtype=float)
    distinct, numbers = np.unique(values, return_inverse=True)
    if len(distinct) <= LEVELS:
        return numbers
    return np.searchsorted(np.quantile(values, np.arange(1, LEVELS) / LEVELS), values, side='right')
