"""Tokens as a map and back (METHOD 4): transformers return ``(B, L, C)``, DSTS works on ``(B, C, T, H, W)``."""

from __future__ import annotations

import math
from typing import Sequence

import torch
from torch import Tensor

#: Tokens that may stand before those of the grid: none, or a class token.
_PREFIXES = (0, 1)


class TokenGrid:
    """The grid that a backbone's tokens come from.

    Tokens are ``(B, L, C)`` with time slowest and width fastest, after a class token or none::

        [class]  t0 y0 x0,  t0 y0 x1,  ...  t1 y0 x0,  ...      L = (0 or 1) + T H W

    Args:
        grid: ``(T, H, W)`` at the size that the backbone is trained at. At another size of the picture, as a test
            with larger crops has it, tokens make ``T`` squares.

    Raises:
        ValueError: If ``grid`` is not three positive integers.
    """

    def __init__(self, grid: Sequence[int]) -> None:
        self.grid = tuple(grid)
        if len(self.grid) != 3 or not all(isinstance(size, int) and size > 0 for size in self.grid):
            raise ValueError(f'grid must be three positive integers (T, H, W), got {grid!r}')

    def fold(self, tokens: Tensor) -> Tensor:
        """``(B, L, C)`` to the map ``(B, C, T, H, W)``; a class token is left out.

        Raises:
            ValueError: If the tokens do not make the grid.
        """
        prefix, sizes = self._layout(tokens.shape[1])
        return tokens[:, prefix:].transpose(1, 2).unflatten(2, sizes)

    def unfold(self, folded: Tensor, class_token: Tensor | None) -> Tensor:
        """The map ``(B, C, T, H, W)`` back to ``(B, L, C)``, behind the class token ``(B, C)`` where there is one."""
        tokens = folded.flatten(2).transpose(1, 2)
        return tokens if class_token is None else torch.cat([class_token[:, None], tokens], 1)

    def class_token(self, tokens: Tensor) -> Tensor | None:
        """The class token, ``(B, C)``, or None."""
        return tokens[:, 0] if self._layout(tokens.shape[1])[0] else None

    def _layout(self, length: int) -> tuple[int, tuple[int, int, int]]:
        """Tokens before the grid, and the sizes of the grid."""
        time, height, width = self.grid
        for prefix in _PREFIXES:
            if length - prefix == time * height * width:
                return prefix, self.grid
        for prefix in _PREFIXES:
            side = math.isqrt(max(length - prefix, 0) // time)
            if side and time * side * side == length - prefix:
                return prefix, (time, side, side)
        raise ValueError(
            f'{length} tokens make neither the grid (T, H, W) = {self.grid} nor {time} squares, with or without a '
            'class token. Set grid of the neck to what the backbone divides its input into'
        )
