"""An articulated figure: joint angles in, joint positions out.

Body axes, in units of about half a body height (an upright figure is 1.75 units tall): ``x`` points where the
figure faces, ``y`` from the hips to the head, ``z`` to the figure's right. The origin is the middle of the hips.
"""

from __future__ import annotations

import numpy as np

# The joint angles of a pose, in degrees, in the order of the pose vectors of SHAPES. Flexion bends forwards
# (knee: backwards); a shoulder of 0 hangs down, 180 points overhead; *_out angles open sideways.
ANGLES = ('spine', 'hip_left', 'hip_right', 'knee_left', 'knee_right', 'shoulder', 'elbow', 'arm_out', 'leg_out')

TORSO, NECK_TO_HEAD = 0.52, 0.19
UPPER_ARM, FOREARM = 0.28, 0.27
THIGH, SHIN = 0.44, 0.46
SHOULDER_HALF, HIP_HALF = 0.17, 0.09


def pose(
    spine: float = 0,
    hip: float = 0,
    knee: float = 0,
    shoulder: float = 0,
    elbow: float = 0,
    arm_out: float = 0,
    leg_out: float = 0,
    hip_right: float | None = None,
    knee_right: float | None = None,
) -> np.ndarray:
    """Pose vector ``(9,)`` in degrees, ordered as :data:`ANGLES`; the right leg follows the left if not given."""
    return np.array(
        [
            spine,
            hip,
            hip if hip_right is None else hip_right,
            knee,
            knee if knee_right is None else knee_right,
            shoulder,
            elbow,
            arm_out,
            leg_out,
        ],
        dtype=np.float64,
    )


# The body shapes that tell classes apart in space.
SHAPES: dict[str, np.ndarray] = {
    # in the air
    'tuck': pose(spine=25, hip=120, knee=130, shoulder=55, elbow=25, arm_out=8),
    'pike': pose(spine=20, hip=112, shoulder=75, arm_out=5),
    'layout': pose(spine=-4, hip=-4, shoulder=20, arm_out=12),
    # hanging from a bar
    'hang_straight': pose(shoulder=178),
    'hang_pike': pose(spine=8, hip=105, shoulder=170),
    'hang_arch': pose(spine=-15, hip=-35, knee=75, shoulder=190),
    # standing on the left leg
    'passe': pose(hip_right=75, knee_right=125, shoulder=80, elbow=30, arm_out=35),
    'scale': pose(hip_right=95, knee_right=0, shoulder=80, elbow=30, arm_out=35),
}


def swap_legs(angles: np.ndarray) -> np.ndarray:
    """The same pose ``(..., 9)`` with the left and the right leg exchanged."""
    return angles[..., [0, 2, 1, 4, 3, 5, 6, 7, 8]]


def joints(angles: np.ndarray) -> dict[str, np.ndarray]:
    """Positions of the joints in body axes.

    Args:
        angles (np.ndarray): Pose vector ``(9,)`` in degrees, ordered as :data:`ANGLES`.

    Returns:
        dict: Name to position ``(3,)``: hips, neck, head, and shoulder/elbow/hand, hip/knee/foot on each side.
    """
    angle = dict(zip(ANGLES, np.radians(angles)))
    lean = angle['spine']
    up = np.array([np.sin(lean), np.cos(lean), 0.0])
    points = {'hips': np.zeros(3), 'neck': up * TORSO, 'head': up * (TORSO + NECK_TO_HEAD)}
    for side, sign in (('left', -1.0), ('right', 1.0)):
        outward = np.array([0.0, 0.0, sign])
        shoulder = up * (TORSO * 0.95) + outward * SHOULDER_HALF
        # the arms move with the torso: their angle is counted from the leaning spine
        elbow = shoulder + UPPER_ARM * _limb(angle['shoulder'] - lean, angle['arm_out'], outward)
        hand = elbow + FOREARM * _limb(angle['shoulder'] + angle['elbow'] - lean, angle['arm_out'], outward)
        hip = outward * HIP_HALF
        knee = hip + THIGH * _limb(angle['hip_' + side], angle['leg_out'], outward)
        foot = knee + SHIN * _limb(angle['hip_' + side] - angle['knee_' + side], angle['leg_out'], outward)
        points.update({
            'shoulder_' + side: shoulder, 'elbow_' + side: elbow, 'hand_' + side: hand,
            'hip_' + side: hip, 'knee_' + side: knee, 'foot_' + side: foot,
        })  # yapf: disable
    return points


def centre_of_mass(points: dict[str, np.ndarray]) -> np.ndarray:
    """Rough centre of mass ``(3,)`` of the joints, about which a body in the air turns."""
    torso = (points['hips'] + points['neck']) / 2
    legs = sum(points[name + side] for name in ('knee_', 'foot_') for side in ('left', 'right')) / 4
    return 0.5 * torso + 0.12 * points['head'] + 0.38 * legs


def rotation(axis: str, angle: float) -> np.ndarray:
    """Rotation matrix ``(3, 3)`` by ``angle`` radians about ``'x'``, ``'y'`` or ``'z'`` (right-handed)."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = {'x': (1, 2), 'y': (2, 0), 'z': (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def _limb(flexion: float, out: float, outward: np.ndarray) -> np.ndarray:
    """Unit direction of a limb that hangs down at 0, points forwards at 90 degrees and opens sideways by ``out``."""
    in_plane = np.array([np.sin(flexion), -np.cos(flexion), 0.0])
    return np.cos(out) * in_plane + np.sin(out) * outward
