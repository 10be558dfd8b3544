"""The routed convolution to the letter: what the fast paths are tested and measured against."""

from __future__ import annotations

from typing import Sequence

import torch.nn.functional as F
from torch import Tensor


def literal_conv(x: Tensor, choice: Tensor, masks: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """``sum_i choice[:, i] * conv(masks[i] * x, weights[i])``: every neuron on a masked copy of the input, then the
    sum (METHOD 1.2 and 1.4).

    Arguments and result as of :func:`~mmdsts.models.routed_conv.routed_conv`.
    """
    out = 0
    for y, mask, weight in zip(choice.t(), masks, weights):
        padding = [size // 2 for size in weight.shape[2:]]
        z = F.conv3d(mask.view(1, -1, 1, 1, 1) * x, weight, padding=padding)
        out = out + y.view(-1, 1, 1, 1, 1) * z
    return out
