"""Clips that cannot be loaded: training goes on without a few of them."""

from __future__ import annotations

import logging

import torch
from mmengine.logging import print_log

from mmdsts.errors import ClipError

#: Share of a training list that may be broken, where its data set says nothing else (``max_broken``).
MAX_BROKEN = 0.05

# So many clips are looked at before most of them being broken ends a training: a moved folder, or a missing codec.
_FIRST = 20


class BrokenClips:
    """Which clips of a training list could not be loaded, kept in memory that all data workers of a process share.

    Each is said once and left out from then on. Too many end the training.

    Args:
        num_clips (int): Clips of the list.
        max_share (float): Which share of them may be broken, from 0 to 1.
        source (str): What messages call the list.

    Raises:
        ValueError: ``max_share`` is no number from 0 to 1.
    """

    def __init__(self, num_clips: int, max_share: float, source: str) -> None:
        if not isinstance(max_share, (int, float)) or not 0 <= max_share <= 1:
            raise ValueError(
                f'max_broken is {max_share!r}, expected the share of clips that may be broken, 0 to 1; 0: none'
            )
        self.max_share = max_share
        self.source = source
        # A byte a clip: each worker writes those of the clips it was given, and all see the sum.
        self._good = torch.zeros(num_clips, dtype=torch.uint8).share_memory_()
        self._broken = torch.zeros(num_clips, dtype=torch.uint8).share_memory_()

    def __len__(self) -> int:
        """Clips of the list."""
        return len(self._broken)

    def __deepcopy__(self, memo: dict) -> BrokenClips:
        """One of its own for a copied data set, as MMEngine's loaders make: the copy of shared memory is not shared."""
        return BrokenClips(len(self), self.max_share, self.source)

    def __contains__(self, index: int) -> bool:
        """Whether a clip is known to be broken."""
        return bool(self._broken[index])

    @property
    def count(self) -> int:
        """How many clips are known to be broken."""
        return int(self._broken.sum())

    def note_good(self, index: int) -> None:
        """Note that a clip was loaded."""
        self._good[index] = 1

    def note(self, index: int, error: ClipError) -> None:
        """Note a broken clip and say so.

        Args:
            index (int): Which clip.
            error (ClipError): Its name, and what is wrong with it.

        Raises:
            ClipError: More clips are broken than may be, or most of the first ones.
        """
        self._broken[index] = 1
        broken, good = self.count, int(self._good.sum())
        found = f'{broken} of {len(self)} clips of {self.source} cannot be loaded'
        advice = 'tools/data/check_videos.py finds all of them'
        if broken > self.max_share * len(self):
            raise ClipError(
                f'{found}, and max_broken={self.max_share:g} allows {int(self.max_share * len(self))}; {advice}. '
                f'The last one: {error}'
            ) from error
        if broken > max(good, _FIRST / 2):
            raise ClipError(f'{found} and {good} can; {advice}. The last one: {error}') from error
        print_log(f'{error}; left out of training. {found}', logger='current', level=logging.WARNING)
