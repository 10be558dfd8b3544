"""Which operator a channel goes to: binary gates by Improved SemHash (METHOD 1.3)."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_gates(gate: Tensor, soft_prob: float = 0.0, noise: float = 1.0) -> Tensor:
    """Sample binary gates, differentiable through the saturating sigmoid (METHOD 1.3, training).

    ``g' = gate + noise * eps`` with ``eps ~ N(0, 1)``; the value is ``1[g' > 0]``, the gradient that of ``clamp(1.2
    sigmoid(g') - 0.1, 0, 1)``.

    Args:
        gate: Gate parameters, any shape.
        soft_prob: Probability, for each gate on its own, that the soft value is used in the forward pass too.
            Defaults to 0: the notes say ``b in {0, 1}``.
        noise: Standard deviation of the noise. Defaults to 1, as in the notes.

    Returns:
        Gates ``b`` of the same shape: 0 sends a channel to the spatial operator, 1 to the temporal one.
    """
    noisy = gate + noise * torch.randn_like(gate)
    soft = (1.2 * noisy.sigmoid() - 0.1).clamp(0, 1)
    binary = (noisy > 0).to(soft.dtype) + (soft - soft.detach())
    if soft_prob > 0:
        return torch.where(torch.rand_like(soft) < soft_prob, soft, binary)
    return binary


def decide_gates(gate: Tensor) -> Tensor:
    """Binary gates ``1[gate > 0]`` of evaluation: no noise, no gradient (METHOD 1.3, test)."""
    return (gate > 0).to(gate.dtype)
