"""Which samples activate which neuron: counts collected while a model is tested."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmdsts.models.record import last_active_neurons, routing_records


class RoutingRecordHook(Hook):
    """Count, while a runner tests, how often each class activated each neuron.

    Args:
        num_classes: Number of classes; labels must be below.

    Attributes:
        counts: Long, shape ``(L, num_classes, N)``, of all DSTS necks of the model, deployed or not: ``L`` is how many
            layers they have together and ``N`` the most neurons. ``None`` until a model with such a neck was tested.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.counts: Tensor | None = None

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: list | None = None
    ) -> None:
        """Add the batch that was just tested."""
        active = last_active_neurons(runner.model)
        if not active or not outputs:
            return
        labels = torch.stack([sample.gt_label for sample in outputs]).flatten().cpu()
        if self.counts is None:
            neurons = max(neck.num_neurons for neck in routing_records(runner.model))
            self.counts = torch.zeros(len(active), self.num_classes, neurons, dtype=torch.long)
        for layer, index in zip(self.counts, active):
            # Several views of a sample lie side by side.
            views = labels.repeat_interleave(len(index) // len(labels))
            layer.index_put_((views, index.cpu()), torch.ones_like(views), accumulate=True)


def utilization(counts: Tensor) -> Tensor:
    """Share of the samples that activated each neuron.

    Args:
        counts: Shape ``(L, num_classes, N)``.

    Returns:
        Shape ``(L, N)``; rows sum to one.
    """
    samples = counts.sum(dim=1).double()
    return samples / samples.sum(dim=1, keepdim=True)
