"""Features small enough for trainings of a second."""

from __future__ import annotations

import torch

from mmdsts.analysis.ablation import FeatureSet


def rise_or_fall(count, seed, channels=4):
    """Two classes with the same mean over time: channel 0 goes up, or down."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    features = 0.3 * torch.randn(count, channels, 6, 3, 3, generator=generator)
    slope = torch.linspace(-1, 1, 6)[None, :, None, None] * (2.0 * labels - 1)[:, None, None, None]
    features[:, 0] += slope
    return FeatureSet(features, labels, labels // 2)
