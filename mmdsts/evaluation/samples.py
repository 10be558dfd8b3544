"""What a data sample says, under the names of each MMAction2 1.x."""

from __future__ import annotations

from typing import Any

from mmaction.structures import ActionDataSample


def label_of(sample: Any) -> Any:
    """Labels of an ``ActionDataSample``, or of the dict that an evaluator makes of one: of one label, shape ``(1,)``.

    Raises:
        KeyError: It has none.
    """
    return _read(sample, 'gt_label', 'gt_labels')


def score_of(sample: Any) -> Any:
    """Class scores of a predicted sample or of such a dict: shape ``(num_classes,)`` where views were averaged.

    Raises:
        KeyError: It has none.
    """
    return _read(sample, 'pred_score', 'pred_scores')


def labelled(label: int, sample: ActionDataSample | None = None) -> ActionDataSample:
    """A sample with this label: a new one, or the one that is given."""
    sample = ActionDataSample() if sample is None else sample
    return sample.set_gt_label(label) if hasattr(sample, 'set_gt_label') else sample.set_gt_labels(label)


def _read(sample: Any, name: str, former: str) -> Any:
    if name in sample:
        return sample.get(name)
    if former in sample:  # MMAction2 1.0 and 1.1, one level deeper
        return sample.get(former).get('item')
    raise KeyError(f'a data sample has no {name}')
