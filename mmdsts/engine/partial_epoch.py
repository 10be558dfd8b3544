"""Going on in the middle of an epoch: its sampler leaves out what has been trained on."""

from __future__ import annotations

from typing import Any, Iterator

from torch.utils.data import DataLoader


class PartialEpoch:
    """Stands in for the sampler of a loader until the epoch is over.

    The order is that of the whole epoch (the sampler's own, from its seed and epoch), and so is the length, so that
    whatever counts iterations goes on counting right.

    Args:
        loader: Loader with a batch sampler that draws from a sampler (torch's ``BatchSampler`` and its kind).
        done: Batches that have been trained on.
        keep_first: Give the first batch of the epoch too: UDL's last batch is paired with it. Defaults to False.

    Raises:
        TypeError: The batch sampler is of another kind.
    """

    def __init__(self, loader: DataLoader, done: int, keep_first: bool = False) -> None:
        self.batches = loader.batch_sampler
        if not hasattr(self.batches, 'sampler') or not isinstance(getattr(self.batches, 'batch_size', None), int):
            raise TypeError(f'{type(self.batches).__name__} has no sampler and batch_size of its own')
        self.whole = self.batches.sampler
        self.start = done * self.batches.batch_size
        self.first = self.batches.batch_size if keep_first else 0
        self.batches.sampler = self

    def __iter__(self) -> Iterator[Any]:
        return (index for i, index in enumerate(self.whole) if i >= self.start or i < self.first)

    def __len__(self) -> int:
        return len(self.whole)

    def end(self) -> None:
        """Give the loader its own sampler back."""
        self.batches.sampler = self.whole
