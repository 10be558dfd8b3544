"""Which samples activate which neuron: counts collected while a model is tested."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmdsts.models import DSTSNeck


class RoutingRecordHook(Hook):
    """Count, while a runner tests, how often each class activated each neuron.

    Args:
        num_classes: Number of classes; labels must be below.

    Attributes:
        counts: Long, shape ``(L, num_classes, N)``; ``None`` until a model with a
            :class:`~mmdsts.models.DSTSNeck` was tested.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.counts: Tensor | None = None

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: list | None = None
    ) -> None:
        """Add the batch that was just tested."""
        necks = [module for module in runner.model.modules() if isinstance(module, DSTSNeck)]
        if not necks or not outputs:
            return
        (neck,) = necks
        labels = torch.stack([sample.gt_label for sample in outputs]).flatten().cpu()
        active = neck.last_active.cpu()
        if self.counts is None:
            self.counts = torch.zeros(len(active), self.num_classes, neck.num_neurons, dtype=torch.long)
        # Several views of a sample lie side by side.
        labels = labels.repeat_interleave(active.shape[1] // len(labels))
        for layer, index in zip(self.counts, active):
            layer.index_put_((labels, index), torch.ones_like(index), accumulate=True)


def utilization(counts: Tensor) -> Tensor:
    """Share of the samples that activated each neuron.

    Args:
        counts: Shape ``(L, num_classes, N)``.

    Returns:
        Shape ``(L, N)``; rows sum to one.
    """
    samples = counts.sum(dim=1).double()
    return samples / samples.sum(dim=1, keepdim=True)
