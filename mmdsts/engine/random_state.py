"""Random state as a value: taken, put back, replayed, saved in a checkpoint.

The simulated and meta steps of UDL draw noise (Gumbel, SemHash, dropout, batch
blending). Whoever runs them wants the generators afterwards where they were.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import Iterable, Iterator, NamedTuple

import numpy as np
import torch
from torch import Tensor


class RandomState(NamedTuple):
    """State of every generator that a training step may draw from.

    Attributes:
        cpu: torch's CPU generator, uint8 vector.
        cuda: Device index -> state of torch's generator on that CUDA device.
        numpy: State of numpy's global generator.
        python: State of Python's ``random``.
    """

    cpu: Tensor
    cuda: dict[int, Tensor]
    numpy: tuple
    python: tuple

    @classmethod
    def capture(cls, devices: Iterable[torch.device] | None = None) -> RandomState:
        """Copy the present state.

        Args:
            devices: Devices whose CUDA generators are included, the others are left out. Defaults to None,
                the current CUDA device if CUDA has been used in this process.
        """
        if devices is None:
            indices = {torch.cuda.current_device()} if torch.cuda.is_initialized() else set()
        else:
            indices = {torch.cuda.current_device() if d.index is None else d.index for d in devices if d.type == 'cuda'}
        return cls(
            torch.get_rng_state(),
            {i: torch.cuda.get_rng_state(i) for i in sorted(indices)},
            np.random.get_state(),
            random.getstate(),
        )

    def restore(self) -> None:
        """Put every captured generator back to this state."""
        torch.set_rng_state(self.cpu)
        for index, state in self.cuda.items():
            torch.cuda.set_rng_state(state, index)
        np.random.set_state(self.numpy)
        random.setstate(self.python)

    def state_dict(self) -> dict:
        """The state as tensors, numbers and strings, which ``torch.load(weights_only=True)`` reads."""
        name, keys, position, has_gauss, gauss = self.numpy
        version, words, next_gauss = self.python
        return dict(
            cpu=self.cpu,
            cuda=dict(self.cuda),
            numpy=(str(name), torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)),
            python=(version, torch.tensor(words, dtype=torch.int64), next_gauss),
        )

    @classmethod
    def from_state_dict(cls, state: dict) -> RandomState:
        """Inverse of :meth:`state_dict`; accepts tensors that a checkpoint loader moved to another device."""
        name, keys, position, has_gauss, gauss = state['numpy']
        version, words, next_gauss = state['python']
        return cls(
            state['cpu'].cpu(),
            {int(i): s.cpu() for i, s in state['cuda'].items()},
            (name, keys.cpu().numpy().astype(np.uint32), position, has_gauss, gauss),
            (version, tuple(words.tolist()), next_gauss),
        )


def devices_of(tensors: Iterable[Tensor]) -> tuple[torch.device, ...]:
    """The distinct devices that ``tensors`` live on."""
    return tuple(dict.fromkeys(t.device for t in tensors))


@contextmanager
def preserve_random_state(
    start: RandomState | None = None, devices: Iterable[torch.device] | None = None
) -> Iterator[None]:
    """Leave every generator, also after an exception, as it was found.

    Args:
        start: State to begin the block with. Defaults to None, the present one.
        devices: See :meth:`RandomState.capture`.
    """
    before = RandomState.capture(devices)
    if start is not None:
        start.restore()
    try:
        yield
    finally:
        before.restore()
