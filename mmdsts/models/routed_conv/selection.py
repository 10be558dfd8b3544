"""Selection in weight space: N neurons for the price of one, with the exact gradient (METHOD 1, third
identity).

With a one-hot straight-through choice ``y``, ``sum_i y_i conv(X; W_i) = conv(X; sum_i y_i W_i)``. Its forward
value is the weights of the active neuron; its derivatives are those of the whole sum, also towards the choice
of neurons that were not activated.
"""

from __future__ import annotations

from typing import Any, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..routing import active_neurons, check_one_hot
from .weight_gradients import lean_weight_gradients, rows_of_masks, weight_gradients


def select_weights(choice: Tensor, masks: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Weights of each sample's active neuron, masked along input channels.

    The value and all derivatives are those of ``sum_i choice[:, i] * (weights[i] * masks[i])``. One thing is
    left out on purpose: in a first-order backward pass a neuron that no sample activated gets no gradient
    (``None``) rather than zeros, so that no optimizer touches it (METHOD 1.5).

    Args:
        choice: One-hot rows of :func:`straight_through_gumbel`, shape ``(B, N)``.
        masks: Factors of the input channels, shape ``(N, C_in)``.
        weights: ``N`` tensors of shape ``(C_out, C_in, kT, kH, kW)``.

    Returns:
        Shape ``(B, C_out, C_in, kT, kH, kW)``.

    Raises:
        ValueError: If a row of ``choice`` is not one-hot.
    """
    check_one_hot(choice)
    return _SelectWeights.apply(choice.to(weights[0].dtype), masks, *weights)


def gated_weights(masks: Tensor, weights: Sequence[Tensor], indices: list[int]) -> Tensor:
    """Masked weights of some neurons, stacked: shape ``(len(indices), C_out, C_in, kT, kH, kW)``."""
    stacked = torch.stack([weights[i] for i in indices])
    stacked.view(len(indices), len(weights[0]), -1).mul_(rows_of_masks(masks[indices], weights[0])[:, None])
    return stacked


class _SelectWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, choice: Tensor, masks: Tensor, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(choice, masks, *weights)
        index = active_neurons(choice)
        # A masked copy of each active neuron once, then one copy a sample.
        active, position = index.unique(return_inverse=True)
        return gated_weights(masks, weights, active.tolist())[position]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        choice, masks, *weights = ctx.saved_tensors
        # A caller may run this pass inside autocast; the selection works in the precision of the weights.
        with torch.autocast(device_type=grad.device.type, enabled=False):
            if torch.is_grad_enabled():
                return weight_gradients(choice, masks, weights, grad)
            # None for idle neurons, so that no optimizer touches them.
            grad_choice, grad_masks, grad_weights = lean_weight_gradients(choice, masks, weights, grad)
            return (grad_choice, grad_masks, *grad_weights)


def conv_per_sample(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve each sample with its own kernel, stride 1, same size.

    Samples become groups of one 2D convolution: a spatial kernel runs over frames as the batch, a temporal
    one over flattened space.

    Args:
        x: Shape ``(B, C_in, T, H, W)``.
        weight: Shape ``(B, C_out, C_in, 1, 3, 3)`` or ``(B, C_out, C_in, 3, 1, 1)``.

    Returns:
        Shape ``(B, C_out, T, H, W)``.
    """
    batch, channels, frames, height, width = x.shape
    outputs = weight.shape[1]
    if weight.shape[3] == 1:
        x = x.permute(2, 0, 1, 3, 4).reshape(frames, batch * channels, height, width)
        z = F.conv2d(x, weight[:, :, :, 0].flatten(0, 1), padding=1, groups=batch)
        return z.view(frames, batch, outputs, height, width).permute(1, 2, 0, 3, 4)
    x = x.reshape(1, batch * channels, frames, height * width)
    z = F.conv2d(x, weight[..., 0].flatten(0, 1), padding=(1, 0), groups=batch)
    return z.view(batch, outputs, frames, height, width)
