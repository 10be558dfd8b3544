"""Where the held-out batch of a UDL iteration comes from."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator

from torch.utils.data import DataLoader

#: Added to the run's seed for a held-out loader of its own, so that both loaders do not walk the data in one order.
#: Samplers add the epoch to their seed, so it is far above any number of epochs.
HELDOUT_SEED_OFFSET = 1_000_003


def with_next(
    batches: Iterable[Any], before_fetch: Callable[[str], None] = lambda kind: None, resumed: bool = False
) -> Iterator[tuple[Any, Any]]:
    """Pair each batch of an epoch with the next one, and the last with the first.

    An epoch samples without replacement, so the two batches of a pair are disjoint. Each batch is decoded once.

    Args:
        batches: One epoch.
        before_fetch: Called with ``'first'`` or ``'next'`` before a batch is asked for.
        resumed: The epoch goes on in its middle: the first batch has been trained on, and is only there to be
            held out at the end. Defaults to False.

    Raises:
        ValueError: The epoch has a single batch, which has no other to be held out against.
    """
    before_fetch('first')
    iterator = iter(batches)
    first = current = next(iterator, None)
    if resumed and first is not None:
        before_fetch('next')
        current = next(iterator, None)
    if current is None:
        return
    while True:
        before_fetch('next')
        following = next(iterator, None)
        if following is None:
            break
        yield current, following
        current = following
    if current is first and not resumed:
        raise ValueError(
            'The training loader gives one batch an epoch, but UDL needs two disjoint ones. Lower '
            'train_dataloader.batch_size, or set train_cfg.heldout_dataloader to data of its own'
        )
    yield current, first


def set_epoch(loader: DataLoader, epoch: int) -> None:
    """Tell the sampler of a loader the epoch, where it asks for it (as MMEngine's DistSamplerSeedHook does)."""
    for sampler in (loader.sampler, getattr(loader.batch_sampler, 'sampler', None)):
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(epoch)
            return


def endless(
    loader: DataLoader, first_epoch: int = 0, epoch_of: Callable[[DataLoader], Iterable[Any]] = lambda loader: loader
) -> Iterator[Any]:
    """Epochs of a loader without end; its sampler is told the number of each, from ``first_epoch`` on.

    Args:
        loader: The loader.
        first_epoch: Number of the first epoch. Defaults to 0.
        epoch_of: What to take from the loader for one epoch. Defaults to its batches.

    Raises:
        ValueError: An epoch is empty.
    """
    epoch = first_epoch
    while True:
        set_epoch(loader, epoch)
        empty = True
        for item in epoch_of(loader):
            empty = False
            yield item
        if empty:
            raise ValueError(
                'A loader of UDL gives no batch: its dataset is smaller than its batch_size, and drop_last is set'
            )
        epoch += 1
