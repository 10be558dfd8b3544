"""The routed convolution on a CPU: fast and lean in training.

- Only active neurons are convolved, each with its own samples at once, forwards and towards the input.
- Channels whose mask is zero are left out there: with binary gates about half of them.
- The gradient of the choice needs the weight gradient ``P_b`` of each sample, which is what the gradient of the
  operators is summed from anyway. It is held for some samples and output channels at a time.
- Both operators are 2D convolutions: frames are the batch of the spatial one, flattened space is the width
  of the temporal one.

The second derivative, which UDL takes, is made of the same three passes.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from ..routing import active_neurons, check_one_hot, members
from .weight_gradients import (
    add_weight_gradients,
    lean_weight_gradients,
    refuse_third_derivative,
    rows_of_masks,
    second_weight_gradients,
)

# Entries of the weight gradients that one convolution computes, the samples being its groups: for wide layers a sample
# at a time is quickest, for narrow ones the calls would outweigh the work.
_AT_ONCE = 1 << 18
# Entries of weight gradients that are held at once, at most: more than this is slow to get from the system.
_HELD = 5 << 19


def pruned_conv(x: Tensor, choice: Tensor, masks: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """See :func:`~mmdsts.models.routed_conv.routed_conv`."""
    check_one_hot(choice)
    # Autocast does not look into a custom function: do here what it does for a convolution.
    if _cpu_autocast_enabled():
        x = x.to(_cpu_autocast_dtype())
    dtype = weights[0].dtype
    return _RoutedConv.apply(x, choice.to(dtype), masks.to(dtype), *weights)


# Since torch 2.4 both take the device; before, the CPU had functions of its own.
_cpu_autocast_enabled = (
    partial(torch.is_autocast_enabled, 'cpu') if hasattr(torch, 'get_autocast_dtype') else torch.is_autocast_cpu_enabled
)
_cpu_autocast_dtype = (
    partial(torch.get_autocast_dtype, 'cpu') if hasattr(torch, 'get_autocast_dtype') else torch.get_autocast_cpu_dtype
)


class _RoutedConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, choice: Tensor, masks: Tensor, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(x, choice, masks, *weights)
        ctx.groups = _groups(choice, masks)
        return _outputs(x, ctx.groups, masks, weights)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, choice, masks, *weights = ctx.saved_tensors
        # A caller may run this pass inside autocast; precisions are settled by the forward pass.
        with torch.autocast(device_type=grad.device.type, enabled=False):
            if torch.is_grad_enabled():
                return _RoutedConvGradients.apply(ctx.groups, x, choice, masks, grad, *weights)
            to_x, to_choice, to_masks, *to_weights = ctx.needs_input_grad
            groups = ctx.groups
            grad_choice = torch.zeros_like(choice) if to_choice else None
            grad_masks = torch.zeros_like(masks) if to_masks else None
            # None for idle neurons, so that no optimizer touches them.
            grad_weights: list[Tensor | None] = [None] * len(weights)
            for i in (group.neuron for group in groups):
                if to_weights[i]:
                    grad_weights[i] = weights[i].new_zeros(weights[i].shape)
            _add_towards_weights(x, grad, groups, masks, weights, grad_choice, grad_masks, grad_weights)
            # Last, when the weight gradients of single samples are not held any more.
            grad_x = _towards_input(grad, groups, masks, weights) if to_x else None
            return (grad_x, grad_choice, grad_masks, *grad_weights)


class _RoutedConvGradients(torch.autograd.Function):
    """The gradients of :class:`_RoutedConv` where they are differentiated again, zeros for idle neurons.

    With ``V_b`` the masked weights of sample ``b``, ``g`` the incoming gradient and ``h`` the cotangents of
    the gradients, the second derivative is that of ``sum_b <g_b, conv(hX_b, V_b) + conv(X_b, Q_b)>``, where
    ``Q_b`` is how the gradients of choice, masks and weights answer to the weight gradient of sample ``b``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        groups: Sequence[_Group],
        x: Tensor,
        choice: Tensor,
        masks: Tensor,
        grad: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.groups = groups
        images = _side_by_side(x, torch.arange(len(x)), len(weights[0]), weights[0])
        per_sample = _weight_gradients_of_samples(images, grad, slice(None), weights[0])
        ctx.save_for_backward(x, choice, masks, grad, per_sample, *weights)
        ctx.set_materialize_grads(False)
        grad_choice, grad_masks, grad_weights = lean_weight_gradients(choice, masks, weights, per_sample)
        zero = per_sample.new_zeros(())
        dense = [zero.expand_as(weight) if g is None else g for weight, g in zip(weights, grad_weights)]
        return (_towards_input(grad, groups, masks, weights), grad_choice, grad_masks, *dense)

    @staticmethod
    def backward(
        ctx: Any,
        to_x: Tensor | None,
        to_choice: Tensor | None,
        to_masks: Tensor | None,
        *to_weights: Tensor | None,
    ) -> tuple[Any, ...]:
        refuse_third_derivative()
        x, choice, masks, grad, per_sample, *weights = ctx.saved_tensors
        with torch.autocast(device_type=grad.device.type, enabled=False):
            groups = ctx.groups
            grad_choice, grad_masks, to_sample, *grad_weights = second_weight_gradients(
                choice, masks, per_sample, weights, to_choice, to_masks, to_weights
            )
            grad_grad = torch.zeros_like(grad) if to_x is None else _outputs(to_x, groups, masks, weights)
            grad_x = torch.empty_like(x)
            for row, kernel in enumerate(_as_kernels(to_sample).to(x.dtype)):
                images, answers = (_as_images(t[row : row + 1], kernel) for t in (x, grad))
                z = F.conv2d(images, kernel, padding=_padding(kernel.shape))
                grad_grad[row] += _as_clips(z, grad.shape)[0]
                found = conv2d_input(images.shape, kernel, answers, padding=_padding(kernel.shape))
                grad_x[row] = _as_clips(found, x.shape)[0]
            if to_x is not None:
                for i in (group.neuron for group in groups if grad_weights[group.neuron] is None):
                    grad_weights[i] = weights[i].new_zeros(weights[i].shape)
                _add_towards_weights(to_x, grad, groups, masks, weights, grad_choice, grad_masks, grad_weights)
            return (None, grad_x, grad_choice, grad_masks, grad_grad, *grad_weights)


class _Group(NamedTuple):
    """An active neuron: its samples, and the channels that one of its operators reads.

    Gates are drawn anew in each step, so the number of channels is filled up to a multiple of 16 by channels with
    a mask of zero: oneDNN generates code for each new shape, which takes longer than the convolution.

    Attributes:
        neuron: Its index.
        rows: Its samples, long, shape ``(b,)``.
        read: Channels, long, shape ``(K,)``.
        filled: How many of these have a mask other than zero, the first ones.
        binary: Whether the masks of those are one.
    """

    neuron: int
    rows: Tensor
    read: Tensor
    filled: int
    binary: bool

    def kernel(self, masks: Tensor, weights: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """Masked kernel for the channels that are read, shape ``(C_out, K, kh, kw)``."""
        kernel = _as_kernels(weights[self.neuron]).index_select(1, self.read)
        if self.binary:
            kernel[:, self.filled :] = 0
        else:
            kernel.flatten(1).mul_(rows_of_masks(masks[self.neuron, self.read][None], kernel))
        return kernel.to(dtype)


def _groups(choice: Tensor, masks: Tensor) -> list[_Group]:
    """Active neurons, in ascending order."""
    groups = members(active_neurons(choice))
    masks = masks[[neuron for neuron, _ in groups]]
    unread = masks == 0
    reads = unread.byte().argsort(dim=1, stable=True)
    filled = (masks.shape[1] - unread.sum(dim=1)).tolist()
    binary = (unread | (masks == 1)).all(dim=1).tolist()
    return [
        _Group(neuron, torch.tensor(rows, device=masks.device), read[: -(-number // 16) * 16], number, ones)
        for (neuron, rows), read, number, ones in zip(groups, reads, filled, binary)
    ]


def _outputs(x: Tensor, groups: Sequence[_Group], masks: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Each sample convolved, shape ``(B, C_out, T, H, W)``."""
    out = x.new_empty(len(x), len(weights[0]), *x.shape[2:])
    for group in groups:
        if group.filled == 0:
            out[group.rows] = 0
            continue
        kernel = group.kernel(masks, weights, x.dtype)
        images = _as_images(_some(x, group.rows).index_select(1, group.read), kernel)
        z = F.conv2d(images, kernel, padding=_padding(kernel.shape))
        for row, clip in zip(group.rows.tolist(), _as_clips(z, out.shape)):
            out[row] = clip
    return out


def _towards_input(grad: Tensor, groups: Sequence[_Group], masks: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Gradient towards the input of a convolution, from that towards its outputs."""
    out = grad.new_zeros(len(grad), masks.shape[1], *grad.shape[2:])
    for group in groups:
        if group.filled > 0:
            kernel = group.kernel(masks, weights, grad.dtype)
            answers = _as_images(_some(grad, group.rows), kernel)
            size = (len(answers), len(group.read), *answers.shape[2:])
            found = conv2d_input(size, kernel, answers, padding=_padding(kernel.shape))
            for row, clip in zip(group.rows.tolist(), _as_clips(found, grad.shape)):
                out[row].index_copy_(0, group.read, clip)
    return out


def _add_towards_weights(
    x: Tensor,
    grad: Tensor,
    groups: Sequence[_Group],
    masks: Tensor,
    weights: Sequence[Tensor],
    grad_choice: Tensor | None,
    grad_masks: Tensor | None,
    grad_weights: Sequence[Tensor | None],
) -> None:
    """Add the gradients towards choice, masks and weights to those that are wanted (not ``None``)."""
    order = torch.cat([group.rows for group in groups])
    neurons = [group.neuron for group in groups for _ in group.rows]
    at_once, slices = _parts(len(order), weights)
    for first in range(0, len(order), at_once):
        rows, here = order[first : first + at_once], neurons[first : first + at_once]
        members_here = [(i, slice(here.index(i), here.index(i) + here.count(i))) for i in dict.fromkeys(here)]
        found = None if grad_choice is None else grad_choice.new_zeros(len(rows), len(weights))
        images = _side_by_side(x, rows, slices[0].stop, weights[0])
        for outputs in slices:
            per_sample = _weight_gradients_of_samples(images, grad, outputs, weights[0])
            sliced = [None if g is None else g[outputs] for g in grad_weights]
            add_weight_gradients(
                members_here, masks, [w[outputs] for w in weights], per_sample, found, grad_masks, sliced
            )
        if found is not None:
            grad_choice.index_add_(0, rows, found)


def _parts(batch: int, weights: Sequence[Tensor]) -> tuple[int, list[slice]]:
    """Samples and output channels whose weight gradients are held at a time.

    Each part of the samples reads the weights of all neurons. For few neurons that is nothing beside the
    convolutions, which are quicker for many output channels.
    """
    entries, outputs = weights[0].numel(), len(weights[0])
    at_once = batch if batch * entries <= _HELD else min(batch, 8 if len(weights) <= 16 else 16)
    # In whole blocks of 32, all of nearly one size.
    number = min(-(-at_once * entries // _HELD), max(1, outputs // 32))
    size = -(-outputs // (number * 32)) * 32
    return at_once, [slice(first, min(first + size, outputs)) for first in range(0, outputs, size)]


def _side_by_side(x: Tensor, rows: Tensor, outputs: int, weight: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Samples that are the groups of one 2D convolution: their rows, and ``(T, b C, H, W)`` or ``(1, b C, T, H W)``."""
    at_once = max(1, _AT_ONCE // (outputs * weight[0].numel()))
    return [(some, _as_channels(_some(x, some), weight)) for some in rows.split(at_once)]


def _weight_gradients_of_samples(
    images: Sequence[tuple[Tensor, Tensor]], grad: Tensor, outputs: slice, weight: Tensor
) -> Tensor:
    """Gradient of each sample towards its weights for some output channels, shape ``(b, C_out, C_in, kT, kH, kW)``."""
    kernel = _as_kernels(weight[outputs])
    held = weight.new_empty(sum(len(rows) for rows, _ in images), *kernel.shape)
    place = 0
    for rows, image in images:
        size = (len(rows) * kernel.shape[0], *kernel.shape[1:])
        answers = _as_channels(_some(grad, rows)[:, outputs], weight)
        found = conv2d_weight(image, size, answers, padding=_padding(size), groups=len(rows))
        held[place : place + len(rows)] = found.view(len(rows), *kernel.shape)
        place += len(rows)
    return held.view(-1, *weight[outputs].shape)


def _some(t: Tensor, rows: Tensor) -> Tensor:
    return t.narrow(0, int(rows), 1) if len(rows) == 1 else t.index_select(0, rows)


def _as_images(x: Tensor, kernel: Tensor) -> Tensor:
    """Clips ``(b, C, T, H, W)`` as what a 2D convolution takes: ``(b T, C, H, W)`` or ``(b, C, T, H W)``."""
    return x.transpose(1, 2).flatten(0, 1) if kernel.shape[-1] == 3 else x.flatten(3)


def _as_clips(images: Tensor, shape: Sequence[int]) -> Tensor:
    """Back to ``(b, C, T, H, W)``, of frames and sides as in ``shape``."""
    frames, height, width = shape[2:]
    if images.shape[2:] == (height, width):
        return images.unflatten(0, (-1, frames)).transpose(1, 2)
    return images.unflatten(3, (height, width))


def _as_channels(x: Tensor, weight: Tensor) -> Tensor:
    """Clips ``(b, C, T, H, W)`` as the groups of a 2D convolution."""
    images = x.permute(2, 0, 1, 3, 4).flatten(1, 2) if weight.shape[2] == 1 else x.flatten(3).flatten(0, 1)[None]
    return images.contiguous()


def _as_kernels(weights: Tensor) -> Tensor:
    """Drop the side of one: ``(..., 1, 3, 3)`` to ``(..., 3, 3)`` and ``(..., 3, 1, 1)`` to ``(..., 3, 1)``."""
    return weights.squeeze(-3) if weights.shape[-3] == 1 else weights.squeeze(-1)


def _padding(shape: Sequence[int]) -> list[int]:
    return [size // 2 for size in shape[-2:]]
