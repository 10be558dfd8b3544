"""Classes of ToyGym: what tells them apart, and what does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmdsts.toygym import ELEMENTS, SETS, render_clip, sample_nuisance, space_only_groups, time_only_groups
from mmdsts.toygym.figure import SHAPES, joints, rotation
from mmdsts.toygym.render import WINDOW, cycle, place_figure


def test_sets_and_classes():
    assert len(ELEMENTS) >= 24
    assert len({e.name for e in ELEMENTS}) == len(ELEMENTS)
    assert {e.set_id for e in ELEMENTS} == set(SETS)
    assert len(SETS) >= 4
    for set_id in SETS:
        in_set = {label for label, e in enumerate(ELEMENTS) if e.set_id == set_id}
        assert any(set(group) <= in_set for group in time_only_groups())
        assert any(set(group) <= in_set for group in space_only_groups())


def test_limbs_keep_their_length_and_rotations_are_rotations():
    lengths = []
    for shape in SHAPES.values():
        p = joints(shape)
        lengths.append(
            [
                np.linalg.norm(p[a] - p[b])
                for a, b in (
                    ('hip_left', 'knee_left'),
                    ('knee_left', 'foot_left'),
                    ('shoulder_right', 'elbow_right'),
                    ('hips', 'neck'),
                )
            ]
        )
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], (len(SHAPES), 4)), atol=1e-12)
    for axis in 'xyz':
        r = rotation(axis, 0.7)
        np.testing.assert_allclose(r @ r.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(r) == pytest.approx(1)


def test_a_forward_salto_turns_the_head_to_the_front():
    forward = next(e for e in ELEMENTS if e.shapes == ('layout',) and e.salto > 0)
    nuisance = replace(sample_nuisance(np.random.default_rng(0), 0.0), salto_phase=0.0, facing=0.0)
    for facing, sign in ((0.0, 1), (np.pi, -1)):
        turned = replace(nuisance, facing=facing)
        start, later = (place_figure(forward, turned, t) for t in (0.0, 0.1))
        lean = [(p['head'] - p['hips'])[0] for p in (start, later)]
        assert sign * (lean[1] - lean[0]) > 0.1


@pytest.mark.parametrize('group', time_only_groups(), ids=str)
def test_time_only_classes_have_the_same_single_frames(group):
    """Whatever one class shows at a moment, another shows at the same moment with other, equally likely phases."""
    first, *others = (ELEMENTS[label] for label in group)
    nuisance = sample_nuisance(np.random.default_rng(1), 0.8)
    for other in others:
        for progress in (0.0, 0.3, 0.9):
            clock = nuisance.speed * progress + nuisance.unevenness * np.sin(
                2 * np.pi * progress + nuisance.unevenness_phase
            )
            shifted = replace(
                nuisance,
                salto_phase=nuisance.salto_phase + 2 * np.pi * (first.salto - other.salto) * clock,
                twist_phase=nuisance.twist_phase + 2 * np.pi * (first.twist - other.twist) * clock,
            )
            if first.shapes != other.shapes:  # the order of shapes: see the next test
                continue
            ours, theirs = place_figure(first, nuisance, progress), place_figure(other, shifted, progress)
            for name, point in ours.items():
                np.testing.assert_allclose(point, theirs[name], atol=1e-9)


def test_two_orders_of_shapes_pass_through_the_same_poses():
    in_order = [e.shapes for e in ELEMENTS if len(e.shapes) > 1]
    assert len(in_order) == 2
    assert in_order[0] != in_order[1]
    phases = (np.arange(600) + 0.5) / 600
    poses = [np.array([cycle(shapes, phase) for phase in phases]) for shapes in in_order]
    ordered = [rows[np.lexsort(np.round(rows, 6).T)] for rows in poses]
    np.testing.assert_allclose(ordered[0], ordered[1], atol=1e-6)
    assert not np.allclose(poses[0], poses[1])


def test_the_same_draw_gives_the_same_bytes():
    draw = [sample_nuisance(np.random.default_rng(5), 0.5) for _ in range(2)]
    a, b = (render_clip(ELEMENTS[3], nuisance, 16, 64) for nuisance in draw)
    assert a.shape == (16, 64, 64, 3)
    assert a.dtype == np.uint8
    assert a.tobytes() == b.tobytes()
    other = render_clip(ELEMENTS[3], sample_nuisance(np.random.default_rng(6), 0.5), 16, 64)
    assert a.tobytes() != other.tobytes()


# One pair a kind of difference in time, at the lowest difficulty, where a cue would be easiest to find.
KINDS = {'direction': (0, 1), 'amount of salto': (6, 7), 'amount of twist': (10, 11), 'side of a turn': (12, 13),
         'amount of turn': (12, 14), 'order of shapes': (22, 23)}  # yapf: disable
TRAIN, TEST = 32, 16


@pytest.fixture(scope='module')
def grey_clips():
    """Label to grey clips ``(TRAIN + TEST, WINDOW, 32 * 32)``, the mean brightness of each frame removed."""
    clips = {}
    for label in sorted({label for pair in KINDS.values() for label in pair}):
        draws = [sample_nuisance(np.random.default_rng([label, i]), 0.0) for i in range(TRAIN + TEST)]
        grey = np.stack([render_clip(ELEMENTS[label], draw, WINDOW, 32).mean(-1) for draw in draws])
        grey = grey.reshape(*grey.shape[:2], -1)
        clips[label] = grey - grey.mean(-1, keepdims=True)
    return clips


def pair_accuracy(features):
    """Held-out accuracy of a ridge classifier on two classes; ``features``: two arrays ``(TRAIN + TEST, D)``."""
    train = np.concatenate([f[:TRAIN] for f in features])
    test = np.concatenate([f[TRAIN:] for f in features])
    mean, std = train.mean(0), train.std(0) + 1e-6
    train, test = (train - mean) / std, (test - mean) / std
    kernel = train @ train.T
    target = np.repeat([-1.0, 1.0], TRAIN)
    weights = np.linalg.solve(kernel + 0.3 * train.shape[1] * np.eye(len(kernel)), target)
    return np.mean(np.sign(test @ train.T @ weights) == np.repeat([-1.0, 1.0], TEST))


def succession(clips, lag):
    """How principal components of a frame go with those ``lag`` frames later: covariances, two ``(n, 256)``."""
    frames = np.concatenate([c[:TRAIN] for c in clips]).reshape(-1, clips[0].shape[-1])
    mean = frames.mean(0)
    basis = np.linalg.svd(frames[::4] - mean, full_matrices=False)[2][:16].T
    features = []
    for clip in clips:
        z = (clip - mean) @ basis
        z = z - z.mean(1, keepdims=True)
        covariance = np.einsum('ntp,ntq->npq', z[:, :-lag], z[:, lag:]).reshape(len(z), -1)
        features.append(covariance / np.linalg.norm(covariance, axis=1, keepdims=True))
    return features


def test_neither_a_frame_nor_the_mean_frame_tells_time_only_classes_apart(grey_clips):
    single, mean = [], []
    for a, b in KINDS.values():
        clips = grey_clips[a], grey_clips[b]
        single += [pair_accuracy([c[:, t] for c in clips]) for t in (0, 8, 15)]
        mean.append(pair_accuracy([c.mean(1) for c in clips]))
    # 18 and 6 accuracies on 32 clips each: chance is 0.5 with a standard error of 0.02 and 0.04
    assert abs(np.mean(single) - 0.5) < 0.08, single
    assert abs(np.mean(mean) - 0.5) < 0.12, mean


def test_the_succession_of_frames_does(grey_clips):
    accuracy = {}
    for kind, (a, b) in KINDS.items():
        lag = 5 if kind == 'order of shapes' else 1  # from one of three shapes to the next it takes a third of a cycle
        accuracy[kind] = pair_accuracy(succession([grey_clips[a], grey_clips[b]], lag))
    assert min(accuracy.values()) > 0.85, accuracy


def test_shapes_tell_space_only_classes_apart():
    """With every nuisance at rest, the shapes of a group are clearly different poses."""
    for group in space_only_groups():
        poses = [SHAPES[ELEMENTS[label].shapes[0]] for label in group if len(ELEMENTS[label].shapes) == 1]
        for i, a in enumerate(poses):
            for b in poses[:i]:
                assert np.abs(a - b).max() >= 60
