"""Convolving each sample with the weights of its active neuron (METHOD 1.4, third identity), fast and lean in
training.

The value and all derivatives are those of ``sum_i choice[:, i] * conv(x, weights[i] * masks[i])``. Three
things make it cheap:

- Only active neurons are convolved, forwards and towards the input.
- The gradient of the choice, ``<G_b, weights[i] * masks[i]>`` for every neuron ``i``, needs the weight
  gradient ``G_b`` of each sample, which is what the gradient of the operators is summed from anyway. It is
  held for a few samples at a time.
- Both operators are 2D convolutions: frames are the batch of the spatial one, flattened space is the width
  of the temporal one.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .selection import conv_per_sample, gated_weights, select_weights
from .weight_gradients import choice_gradient, over_channels, rows_of_masks, weight_gradients


def routed_conv(x: Tensor, choice: Tensor, masks: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Convolve each sample with its active neuron's masked weights, stride 1, same size.

    As with :func:`~mmdsts.models.selection.select_weights`, neurons that no sample activated get no gradient
    (``None``) in a first-order backward pass, so that no optimizer touches them (METHOD 1.5). On a GPU, where
    many small convolutions would starve the device, the samples are groups of one convolution; on a CPU they
    are convolved one by one (docs/performance.md).

    Args:
        x: Shape ``(B, C_in, T, H, W)``.
        choice: One-hot rows, shape ``(B, N)``.
        masks: Factors of the input channels, shape ``(N, C_in)``.
        weights: ``N`` tensors of one shape: ``(C_out, C_in, 1, 3, 3)`` or ``(C_out, C_in, 3, 1, 1)``.

    Returns:
        Shape ``(B, C_out, T, H, W)``.
    """
    if x.device.type != 'cpu':
        return conv_per_sample(x, select_weights(choice, masks, weights))
    batch, channels, frames, height, width = x.shape
    if weights[0].shape[2] == 1:
        images = x.transpose(1, 2).contiguous()
        return _convolve(images, choice, masks, weights).transpose(1, 2)
    images = x.reshape(batch, 1, channels, frames, height * width)
    return _convolve(images, choice, masks, weights).view(batch, -1, frames, height, width)


def _convolve(images: Tensor, choice: Tensor, masks: Tensor, weights: Sequence[Tensor]) -> Tensor:
    # Autocast does not look into a custom function: do here what it does for a convolution.
    if _cpu_autocast_enabled():
        images = images.to(_cpu_autocast_dtype())
    dtype = weights[0].dtype
    return _RoutedConv.apply(images, choice.to(dtype), masks.to(dtype), *weights)


# Since torch 2.4 both take the device; before, the CPU had functions of its own.
_cpu_autocast_enabled = (
    partial(torch.is_autocast_enabled, 'cpu')
    if hasattr(torch, 'get_autocast_dtype')
    else torch.is_autocast_cpu_enabled
)
_cpu_autocast_dtype = (
    partial(torch.get_autocast_dtype, 'cpu')
    if hasattr(torch, 'get_autocast_dtype')
    else torch.get_autocast_cpu_dtype
)


class _RoutedConv(torch.autograd.Function):
    """``images`` are ``(B, M, C_in, h, w)``: ``M`` images of a sample share its weights."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, choice: Tensor, masks: Tensor, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(images, choice, masks, *weights)
        active, position = choice.argmax(dim=1).unique(return_inverse=True)
        kernels = _as_kernels(gated_weights(masks, weights, active.tolist())).to(images.dtype)
        padding = _padding(kernels)
        return torch.stack(
            [F.conv2d(image, kernels[i], padding=padding) for image, i in zip(images, position.tolist())]
        )

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        images, choice, masks, *weights = ctx.saved_tensors
        # A caller may run this pass inside autocast; precisions are settled by the forward pass.
        with torch.autocast(device_type=grad.device.type, enabled=False):
            if torch.is_grad_enabled():
                return _differentiable_gradients(images, choice, masks, weights, grad)
            return _lean_gradients(images, choice, masks, weights, grad, ctx.needs_input_grad)


def _as_kernels(weights: Tensor) -> Tensor:
    """Drop the side of one: ``(..., 1, 3, 3)`` to ``(..., 3, 3)`` and ``(..., 3, 1, 1)`` to ``(..., 3, 1)``."""
    return weights.squeeze(-3) if weights.shape[-3] == 1 else weights.squeeze(-1)


def _padding(kernels: Tensor) -> list[int]:
    return [size // 2 for size in kernels.shape[-2:]]


def _conv_gradients(
    grad: Tensor, images: Tensor, kernel: Tensor, needs_images: bool, needs_kernel: bool
) -> tuple[Any, Any]:
    return torch.ops.aten.convolution_backward(
        grad,
        images,
        kernel,
        None,
        [1, 1],
        _padding(kernel),
        [1, 1],
        False,
        [0, 0],
        1,
        [needs_images, needs_kernel, False],
    )[:2]


def _differentiable_gradients(
    images: Tensor, choice: Tensor, masks: Tensor, weights: Sequence[Tensor], grad: Tensor
) -> tuple[Any, ...]:
    """Gradients as differentiable expressions, for a backward pass that is itself differentiated."""
    selected = _as_kernels(select_weights(choice, masks, weights)).to(images.dtype)
    pairs = [
        _conv_gradients(g, image, kernel, True, True)
        for g, image, kernel in zip(grad, images, selected.unbind(0))
    ]
    grad_images, per_sample = (torch.stack(parts) for parts in zip(*pairs))
    per_sample = per_sample.to(choice.dtype).view(-1, *weights[0].shape)
    return (grad_images, *weight_gradients(choice, masks, weights, per_sample))


def _lean_gradients(
    images: Tensor,
    choice: Tensor,
    masks: Tensor,
    weights: Sequence[Tensor],
    grad: Tensor,
    needed: Sequence[bool],
) -> tuple[Any, ...]:
    """The same values where nothing differentiates them again."""
    batch, neurons = choice.shape
    active, position = choice.argmax(dim=1).unique(return_inverse=True)
    active, position = active.tolist(), position.tolist()
    kernels = _as_kernels(gated_weights(masks, weights, active)).to(images.dtype)
    grad_images = torch.empty_like(images) if needed[0] else None
    grad_choice = torch.zeros_like(choice)
    summed: list[Tensor | None] = [None] * len(active)
    # Weight gradients of single samples are held for at most half the neurons at once: never more memory than
    # half the parameters, and the parameters are read at most 2 B / N times for the gradient of the choice.
    step = max(1, min(batch, neurons // 2))
    buffer = weights[0].new_empty(step, *weights[0].shape)
    for first in range(0, batch, step):
        chunk = range(first, min(first + step, batch))
        for b in chunk:
            grad_image, grad_kernel = _conv_gradients(
                grad[b], images[b], kernels[position[b]], needed[0], True
            )
            if grad_images is not None:
                grad_images[b] = grad_image
            buffer[b - first] = grad_kernel = grad_kernel.view_as(weights[0])
            total = summed[position[b]]
            if total is None:
                summed[position[b]] = grad_kernel.to(buffer.dtype).contiguous()
            else:
                total.add_(grad_kernel)
        if needed[1]:
            choice_gradient(buffer[: len(chunk)], masks, weights, out=grad_choice[chunk.start : chunk.stop])
    grad_masks, factors = torch.zeros_like(masks), rows_of_masks(masks, weights[0])
    grad_weights: list[Tensor | None] = [None] * neurons
    for i, total in zip(active, summed):
        grad_masks[i] = over_channels(total * weights[i])
        if needed[3 + i]:
            total.flatten(1).mul_(factors[i])  # in place: a contiguous tensor of this function's own
            grad_weights[i] = total
    return (grad_images, grad_choice, grad_masks, *grad_weights)
