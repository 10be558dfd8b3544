"""ActionDataSample under the names of MMAction2 1.0 (``gt_labels``) and of later ones (``gt_label``)."""

from __future__ import annotations

from mmaction.structures import ActionDataSample
from torch import Tensor


def labelled(label: int) -> ActionDataSample:
    """A sample with this label."""
    sample = ActionDataSample()
    return sample.set_gt_label(label) if hasattr(sample, 'set_gt_label') else sample.set_gt_labels(label)


def predicted_scores(sample: ActionDataSample) -> Tensor:
    """Scores of a sample after ``predict``, (num_classes, )."""
    return sample.pred_score if 'pred_score' in sample else sample.pred_scores.item
