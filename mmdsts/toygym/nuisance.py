"""What varies from clip to clip and says nothing about the class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np

Colour = Tuple[float, float, float]


@dataclass(frozen=True)
class Nuisance:
    """One draw of everything that the class does not decide. Lengths in body units, angles in radians."""

    salto_phase: float  # start phases, uniform over the whole turn at every difficulty
    twist_phase: float
    shape_phase: float
    facing: float  # 0 or pi: the figure faces right or left
    swap_legs: bool
    speed: float  # factor on all rotation
    unevenness: float  # the rotation is not uniform in time
    unevenness_phase: float
    joint_offset: np.ndarray  # (9,) degrees
    size: float  # factor on the figure's size in the picture
    thickness: float  # factor on its limbs
    offset: tuple[float, float]  # of the figure from the middle of the picture
    path: tuple[float, float]  # travel over the window and height of the flight
    yaw: float  # of the camera
    pitch: float
    pan: tuple[float, float]  # of the camera over the window
    zoom: float  # log factor over the window
    skin: Colour  # colours are RGB, 0..255
    hair: Colour
    suit: Colour
    panel: Colour  # front of the suit, so that front and back look different
    wall: tuple[Colour, Colour]
    floor: Colour
    apparatus: Colour
    texture: float  # contrast of the things in the background, 0..1
    noise: float  # standard deviation of the pixel noise, 0..255
    visibility: float  # contrast of the figure with what is behind it, 0..1
    texture_seed: int


def sample_nuisance(rng: np.random.Generator, difficulty: float) -> Nuisance:
    """Draw the nuisances of a clip.

    Args:
        rng (np.random.Generator): Source of all randomness.
        difficulty (float): 0 (large, clean, steady figure) to 1; widens every range below and lowers the contrast.
    """
    d = difficulty
    turn = 2 * np.pi

    def spread(width):
        return float(rng.uniform(-width, width))

    skin = np.array([235, 195, 160]) * rng.uniform(1 - 0.55 * d, 1.0)
    suit = _colour(rng, 40, 40 + 120 * d)
    wall = (_colour(rng, 110 - 60 * d, 150 + 60 * d), _colour(rng, 110 - 60 * d, 150 + 60 * d))
    return Nuisance(
        salto_phase=float(rng.uniform(0, turn)),
        twist_phase=float(rng.uniform(0, turn)),
        shape_phase=float(rng.uniform(0, 1)),
        facing=float(rng.integers(2) * np.pi),
        swap_legs=bool(rng.integers(2)),
        speed=1 + spread(0.25 * d),
        unevenness=float(rng.uniform(0, 0.06 * d)),
        unevenness_phase=float(rng.uniform(0, turn)),
        joint_offset=rng.uniform(-1, 1, 9) * np.array([8, 14, 14, 14, 14, 25, 25, 12, 8]) * d,
        size=float(np.exp(spread(0.35 * d))),
        thickness=float(np.exp(spread(0.3 * d))),
        offset=(spread(0.35 * d), spread(0.25 * d)),
        path=(spread(0.3 + 0.7 * d), float(rng.uniform(0, 0.1 + 0.3 * d))),
        yaw=spread(0.2 + 0.5 * d),
        pitch=spread(0.05 + 0.2 * d),
        pan=(spread(0.6 * d), spread(0.25 * d)),
        zoom=spread(0.3 * d),
        skin=tuple(skin),
        hair=_colour(rng, 10, 50 + 60 * d),
        suit=suit,
        panel=tuple(np.clip(np.array(suit) + rng.uniform(110, 160), 0, 255)),
        wall=wall,
        floor=_colour(rng, 90 - 50 * d, 170 + 40 * d),
        apparatus=_colour(rng, 60, 200),
        texture=0.15 + 0.7 * d,
        noise=2 + 28 * d,
        visibility=1 - 0.65 * d,
        texture_seed=int(rng.integers(2**31)),
    )


def _colour(rng: np.random.Generator, low: float, high: float) -> Colour:
    return tuple(float(v) for v in rng.uniform(low, high, 3))
