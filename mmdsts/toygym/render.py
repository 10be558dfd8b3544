"""Draw a clip: element + nuisances -> frames.

World axes, in body units: ``x`` to the right, ``y`` up, ``z`` to the camera; the projection is parallel. Everything is
drawn ``OVERSAMPLING`` times larger and reduced by area, which smooths the edges.
"""

from __future__ import annotations

import cv2
import numpy as np

from .elements import Element
from .figure import SHAPES, centre_of_mass, joints, rotation, swap_legs
from .nuisance import Nuisance

OVERSAMPLING = 3
# Frames in which an element makes the turns that its class states. A clip is a little longer, so that a loader that
# takes a window of it has room for a random start.
WINDOW = 16
# Height of the picture in body units, per set: a giant circle needs more room.
VIEW_HEIGHT = {1: 2.3, 2: 2.3, 3: 2.3, 4: 3.5}
# Where the figure's pivot (centre of mass, standing foot, hands) sits, from the middle of the picture.
PIVOT_HEIGHT = {1: 0.15, 2: 0.1, 3: -0.75, 4: 0.0}
# Height of the apparatus' upper edge, from the middle of the picture.
APPARATUS_HEIGHT = {1: -0.8, 2: -0.95, 3: -0.78, 4: 0.0}

# limb segments: joint names, thickness in body units
LIMBS = [(a + side, b + side, width) for side in ('left', 'right')
         for a, b, width in (('hip_', 'knee_', 0.15), ('knee_', 'foot_', 0.11),
                             ('shoulder_', 'elbow_', 0.10), ('elbow_', 'hand_', 0.085))]  # yapf: disable


def render_clip(element: Element, nuisance: Nuisance, num_frames: int = 20, size: int = 64) -> np.ndarray:
    """Frames of one clip.

    Args:
        element (Element): The class.
        nuisance (Nuisance): Everything else; the same two arguments give the same bytes.
        num_frames (int): Defaults to 20.
        size (int): Height and width in pixels. Defaults to 64.

    Returns:
        np.ndarray: RGB frames, ``uint8`` of shape ``(num_frames, size, size, 3)``.
    """
    rng = np.random.default_rng(nuisance.texture_seed)
    canvas = size * OVERSAMPLING
    backdrop = _backdrop(nuisance, canvas, rng)
    frames = np.empty((num_frames, size, size, 3), dtype=np.uint8)
    for t in range(num_frames):
        progress = t / WINDOW
        camera = _Camera(nuisance, element.set_id, canvas, progress - num_frames / WINDOW / 2)
        picture = camera.move_backdrop(backdrop)
        _draw_apparatus(picture, element.set_id, nuisance, camera)
        behind = picture.copy()
        points = place_figure(element, nuisance, progress, num_frames / WINDOW)
        _draw_figure(picture, points, nuisance, camera)
        picture = cv2.addWeighted(picture, nuisance.visibility, behind, 1 - nuisance.visibility, 0)
        small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
        small += rng.normal(0, nuisance.noise, (size, size, 1)).astype(np.float32)
        frames[t] = np.clip(np.rint(small), 0, 255).astype(np.uint8)
    return frames


def place_figure(
    element: Element, nuisance: Nuisance, progress: float, duration: float = 1.25
) -> dict[str, np.ndarray]:
    """Joints in world axes at ``progress`` windows after the clip's start (``duration``: of the clip, in windows)."""
    turn = 2 * np.pi
    uneven = nuisance.unevenness * np.sin(turn * progress + nuisance.unevenness_phase)
    clock = nuisance.speed * progress + uneven
    # forwards about +z is clockwise for the camera when facing +x, hence the sign
    salto = -(nuisance.salto_phase + turn * element.salto * clock) if element.salto else 0.0
    twist = nuisance.twist_phase + turn * element.twist * clock if element.twist else 0.0

    angles = cycle(element.shapes, nuisance.shape_phase + clock) + nuisance.joint_offset
    points = joints(swap_legs(angles) if nuisance.swap_legs else angles)
    # what keeps its place: the hands on a bar, the standing foot, or the centre of mass in the air
    if element.set_id == 4:
        pivot = (points['hand_left'] + points['hand_right']) / 2
    elif element.set_id == 3:
        pivot = np.array([0.0, min(points['foot_left'][1], points['foot_right'][1]), 0.0])
    else:
        pivot = centre_of_mass(points)
    turned = rotation('y', nuisance.facing) @ rotation('z', salto) @ rotation('y', twist)

    x, y = nuisance.offset
    if element.set_id in (1, 2):  # a flight: travel and a parabola
        s = 2 * progress / duration - 1
        x, y = x + nuisance.path[0] * s / 2, y + nuisance.path[1] * (0.5 - s * s)
    place = np.array([x if element.set_id != 4 else 0.0, y if element.set_id in (1, 2) else 0.0, 0.0])
    place[1] += PIVOT_HEIGHT[element.set_id]
    return {name: turned @ (point - pivot) * nuisance.size + place for name, point in points.items()}


def cycle(shapes: tuple[str, ...], phase: float) -> np.ndarray:
    """Pose at ``phase`` of a cycle through ``shapes``: each is held, then passes smoothly into the next one."""
    position = (phase % 1.0) * len(shapes)
    index = int(position) % len(shapes)
    share = np.clip((position - int(position) - 0.5) * 2, 0, 1)
    share = share * share * (3 - 2 * share)
    return (1 - share) * SHAPES[shapes[index]] + share * SHAPES[shapes[(index + 1) % len(shapes)]]


class _Camera:
    """Parallel projection at one moment; ``time`` is 0 in the middle of the clip."""

    def __init__(self, nuisance: Nuisance, set_id: int, canvas: int, time: float) -> None:
        self.canvas = canvas
        self.zoom = float(np.exp(nuisance.zoom * time))
        self.scale = canvas / VIEW_HEIGHT[set_id] * self.zoom
        self.centre = np.array([nuisance.pan[0] * time, nuisance.pan[1] * time])
        if set_id == 4:  # the bar may be anywhere near the middle
            self.centre -= np.array(nuisance.offset)
        self.view = rotation('x', nuisance.pitch) @ rotation('y', nuisance.yaw)

    def project(self, point: np.ndarray) -> tuple[tuple[int, int], float]:
        """Pixel ``(column, row)`` and depth (larger is nearer) of a point in world axes."""
        x, y, depth = self.view @ point
        column = self.canvas / 2 + (x - self.centre[0]) * self.scale
        row = self.canvas / 2 - (y - self.centre[1]) * self.scale
        return (int(round(column)), int(round(row))), float(depth)

    def pixels(self, length: float) -> int:
        """Length in pixels, at least 1."""
        return max(1, int(round(length * self.scale)))

    def flat(self, x: float, y: float) -> tuple[int, int]:
        """Pixel of a point that is drawn flat, parallel to the picture."""
        return (
            int(round(self.canvas / 2 + (x - self.centre[0]) * self.scale)),
            int(round(self.canvas / 2 - (y - self.centre[1]) * self.scale)),
        )

    def move_backdrop(self, backdrop: np.ndarray) -> np.ndarray:
        """The part of the backdrop (twice the canvas) that the camera sees."""
        shift = 0.6 * self.scale * self.centre  # it is further away than the figure
        k = self.zoom
        matrix = np.array(
            [[k, 0, self.canvas / 2 - k * self.canvas - shift[0]], [0, k, self.canvas / 2 - k * self.canvas + shift[1]]]
        )
        return cv2.warpAffine(
            backdrop, matrix, (self.canvas, self.canvas), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )


def _backdrop(nuisance: Nuisance, canvas: int, rng: np.random.Generator) -> np.ndarray:
    """Wall with panels and spots, twice the canvas in each direction."""
    side = 2 * canvas
    ramp = np.linspace(0, 1, side)[None, :, None]
    wall = (1 - ramp) * np.array(nuisance.wall[0]) + ramp * np.array(nuisance.wall[1])
    picture = np.ascontiguousarray(np.broadcast_to(wall, (side, side, 3)).astype(np.uint8))
    things = picture.copy()
    for _ in range(14):
        colour = tuple(float(v) for v in rng.uniform(0, 255, 3))
        column, row = (int(v) for v in rng.integers(0, side, 2))
        width, height = (int(v) for v in rng.integers(canvas // 24, canvas // 3, 2))
        if rng.integers(2):
            cv2.rectangle(things, (column, row), (column + width, row + height), colour, -1)
        else:
            tilt = float(rng.uniform(0, 180))
            cv2.ellipse(things, (column, row), (width // 2, height // 2), tilt, 0, 360, colour, -1)
    return cv2.addWeighted(things, nuisance.texture, picture, 1 - nuisance.texture, 0)


def _draw_apparatus(picture: np.ndarray, set_id: int, nuisance: Nuisance, camera: _Camera) -> None:
    """Floor and apparatus, the same for all classes of a set."""
    colour = nuisance.apparatus
    dark = tuple(0.6 * c for c in colour)
    top = APPARATUS_HEIGHT[set_id]
    ground = -1.7 if set_id == 4 else -1.0
    cv2.rectangle(picture, camera.flat(-9, ground), camera.flat(9, ground - 9), nuisance.floor, -1)
    if set_id == 1:  # table: a block on a foot
        x = nuisance.offset[0] - 0.1
        cv2.rectangle(picture, camera.flat(x - 0.12, top), camera.flat(x + 0.12, ground - 0.2), dark, -1)
        cv2.rectangle(picture, camera.flat(x - 0.42, top), camera.flat(x + 0.42, top - 0.17), colour, -1)
    elif set_id == 2:  # mat with a line
        cv2.rectangle(picture, camera.flat(-9, top), camera.flat(9, top - 0.1), colour, -1)
    elif set_id == 3:  # beam on two legs
        cv2.rectangle(picture, camera.flat(-1.6, top), camera.flat(1.6, top - 0.09), colour, -1)
        for x in (-1.0, 1.0):
            cv2.rectangle(picture, camera.flat(x - 0.05, top - 0.09), camera.flat(x + 0.05, -9), dark, -1)
    else:  # the bar and its post, and the lower bar beside it
        for x, height in ((0.0, top), (1.35, top - 0.75)):
            cv2.line(picture, camera.flat(x, height), camera.flat(x, -9), dark, camera.pixels(0.06))
            cv2.circle(picture, camera.flat(x, height), camera.pixels(0.09), colour, -1)


def _draw_figure(picture: np.ndarray, points: dict[str, np.ndarray], nuisance: Nuisance, camera: _Camera) -> None:
    """Paint the parts from the farthest to the nearest."""
    size = nuisance.size
    width = size * nuisance.thickness
    flat = {name: camera.project(point) for name, point in points.items()}
    parts: list[tuple[float, tuple]] = []
    for a, b, thick in LIMBS:
        (p, near_a), (q, near_b) = flat[a], flat[b]
        depth = (near_a + near_b) / 2
        # limbs on the far side lie in shadow
        shade = np.clip(0.82 + 0.9 * depth / size, 0.5, 1.0)
        colour = tuple(float(c * shade) for c in nuisance.skin)
        parts.append((depth, ('line', p, q, camera.pixels(thick * width), colour)))

    up = points['neck'] - points['hips']
    right = points['shoulder_right'] - points['shoulder_left']
    front = np.cross(up, right)
    front /= np.linalg.norm(front)
    # the trunk is a thick quadrilateral in the suit's colour, with a panel of another colour on its front
    corners = [flat[name][0] for name in ('shoulder_left', 'shoulder_right', 'hip_right', 'hip_left')]
    trunk_depth = (flat['neck'][1] + flat['hips'][1]) / 2
    parts.append((trunk_depth, ('hull', corners, camera.pixels(0.15 * width), nuisance.suit)))
    facing = float((camera.view @ front)[2])
    middle = points['hips'] + up * 0.5
    panel = [
        camera.project(middle + up * u + right * r + front * 0.06 * size)[0]
        for u, r in ((0.42, -0.42), (0.42, 0.42), (-0.42, 0.28), (-0.42, -0.28))
    ]
    if facing > 0:
        parts.append((trunk_depth + 0.02, ('hull', panel, 1, nuisance.panel)))

    head = points['head']
    # face, hair, bun
    for offset, radius, colour in (
        (0.03, 0.125, nuisance.skin),
        (-0.06, 0.115, nuisance.hair),
        (-0.19, 0.06, nuisance.hair),
    ):
        centre, depth = camera.project(head + front * offset * size)
        parts.append((depth, ('disc', centre, camera.pixels(radius * size), colour)))

    for _, part in sorted(parts, key=lambda item: item[0]):
        if part[0] == 'line':
            cv2.line(picture, part[1], part[2], part[4], part[3])
        elif part[0] == 'disc':
            cv2.circle(picture, part[1], part[2], part[3], -1)
        else:
            hull = cv2.convexHull(np.array(part[1], dtype=np.int32))
            cv2.fillConvexPoly(picture, hull, part[3])
            cv2.polylines(picture, [hull], True, part[3], part[2])
