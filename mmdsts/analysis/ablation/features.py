"""Features of a backbone that is trained no further, with what is known of each sample."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class FeatureSet(NamedTuple):
    """Samples as the neck receives them.

    Attributes:
        features: float32, shape ``(n, C, T, H, W)``.
        labels: Class of each sample, long, shape ``(n,)``.
        groups: Group of similar classes that each sample belongs to (a FineGym set), long, shape ``(n,)``; ``None``
            where none is known. Defaults to None.
    """

    features: Tensor
    labels: Tensor
    groups: Tensor | None = None
