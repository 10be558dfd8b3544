"""What pipelines hand to the model."""

from __future__ import annotations

import pytest

from mmdsts.attachment.sampling import sampling_of


def config(step, **dataset):
    pipeline = [step, dict(type='Resize', scale=(64, 48), keep_ratio=False)]
    return dict(train_dataloader=dict(dataset=dict(type='RepeatDataset', dataset=dict(pipeline=pipeline, **dataset))))


@pytest.mark.parametrize(
    ('step', 'dataset', 'frames'),
    [
        (dict(clip_len=8, num_clips=2), {}, 16),
        (dict(clip_len=5, num_clips=3), dict(modality='Flow'), 3),
        (dict(clip_len=dict(RGB=8)), {}, 8),  # MMUniformSampleFrames, of one modality
    ],
)
def test_frames_of_a_view(step, dataset, frames):
    sampling = sampling_of(config(step, **dataset))
    assert (sampling.frames, sampling.size, sampling.size_said) == (frames, (48, 64), True)


def test_clips_of_two_modalities_are_none_of_a_recognizer():
    assert sampling_of(config(dict(clip_len=dict(RGB=8, Pose=32)))) is None
