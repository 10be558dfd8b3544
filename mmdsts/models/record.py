"""Which neurons a batch activated, kept for those who ask after an evaluation."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, Sequence

import torch
from torch import Tensor, nn


class RoutingRecord:
    """What a neck of ``L`` layers remembers of the last batch; a base class of necks.

    Attributes:
        last_active: Active neurons of the last evaluation batch, all views of all samples, long, shape ``(L, B)``.
            None before the first; training leaves it alone.
    """

    last_active: Tensor | None = None
    _parts: list[Tensor] | None = None

    @contextmanager
    def one_batch(self) -> Iterator[None]:
        """Passes inside are parts of one batch: Recognizer3D runs ``test_cfg.max_testing_views`` views at a time."""
        self._parts = []
        try:
            yield
        finally:
            self._parts = None

    def _record(self, active: Sequence[Tensor]) -> None:
        """Remember the active neurons of each layer."""
        self.last_active = torch.stack(list(active))
        if self._parts is not None:
            self._parts.append(self.last_active)
            self.last_active = torch.cat(self._parts, dim=1)


def routing_records(model: nn.Module) -> list[RoutingRecord]:
    """DSTS necks of a model, deployed or not, in the order of its modules."""
    return [module for module in model.modules() if isinstance(module, RoutingRecord)]


def last_active_neurons(model: nn.Module) -> list[Tensor]:
    """For each layer of each DSTS neck, the active neurons of the last evaluation batch, long, shape ``(B,)``."""
    return [index for neck in routing_records(model) if neck.last_active is not None for index in neck.last_active]
