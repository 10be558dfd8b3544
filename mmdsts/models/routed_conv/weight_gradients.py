"""What the weight gradients of single samples mean for choice, gates and operators, and the derivative of that.

With ``P_b`` the gradient towards the weights of sample ``b``, ``y`` the choice and ``m_i`` the mask of neuron
``i``::

    towards the choice   <P_b, W_i * m_i>           for every neuron, activated or not
    towards the masks    sum_b y_bi <P_b, W_i>      per input channel
    towards the weights  sum_b y_bi P_b * m_i

The last two are sums over the samples of an active neuron: idle neurons cost nothing there. UDL differentiates
these three once more (METHOD 2); as one function with a backward pass of its own, that needs neither stacked
copies of all neurons nor a pass over them for each product.
"""

from __future__ import annotations

from typing import Any, Iterator, Sequence

import torch
from torch import Tensor

from ..routing import active_neurons, members

# Entries of the weights of all neurons that are held at once: a piece that stays in the cache between being
# written and read, but no fewer than this of each neuron: PyTorch gives smaller operations to one thread.
_PIECE = 1 << 20
_PIECE_OF_EACH = 1 << 16
# Entries of an operator up to which neurons are small: a spatial one of 85 channels, a temporal one of 147. About there
# the paths cross (docs/performance.md).
_SMALL = 1 << 16


def weight_gradients(
    choice: Tensor, masks: Tensor, weights: Sequence[Tensor], per_sample: Tensor
) -> tuple[Tensor, ...]:
    """Gradients, differentiable once with respect to the arguments.

    Args:
        choice: One-hot rows, shape ``(B, N)``.
        masks: Factors of the input channels, shape ``(N, C_in)``.
        weights: ``N`` tensors of shape ``(C_out, C_in, kT, kH, kW)``.
        per_sample: ``P``, shape ``(B, C_out, C_in, kT, kH, kW)``.

    Returns:
        Gradients towards ``choice``, ``masks`` and each of the weights, of their shapes.
    """
    return _WeightGradients.apply(choice, masks, per_sample, *weights)


def lean_weight_gradients(
    choice: Tensor, masks: Tensor, weights: Sequence[Tensor], per_sample: Tensor
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """The values of :func:`weight_gradients`, not differentiable, ``None`` for weights of idle neurons."""
    if are_small(weights):
        return _all_at_once(choice, masks, weights, per_sample)
    grad_choice, grad_masks = torch.zeros_like(choice), torch.zeros_like(masks)
    grad_weights: list[Tensor | None] = [None] * len(weights)
    groups = members(active_neurons(choice))
    for i, _ in groups:
        grad_weights[i] = weights[i].new_zeros(weights[i].shape)
    add_weight_gradients(groups, masks, weights, per_sample, grad_choice, grad_masks, grad_weights)
    return grad_choice, grad_masks, grad_weights


def are_small(weights: Sequence[Tensor]) -> bool:
    """Whether going through neurons one by one costs more than the arithmetic."""
    return weights[0].numel() <= _SMALL


def _all_at_once(
    choice: Tensor, masks: Tensor, weights: Sequence[Tensor], per_sample: Tensor
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """:func:`lean_weight_gradients` without a loop over neurons, with a copy of all their weights."""
    stacked, samples = torch.stack(tuple(weights)).flatten(2), per_sample.flatten(1)
    factors = rows_of_masks(masks, weights[0])[:, None]
    grad_choice = samples @ (stacked * factors).flatten(1).t()
    summed = (choice.t() @ samples).view_as(stacked)
    grad_masks = (summed * stacked).sum(dim=1).view(*masks.shape, -1).sum(dim=2)
    grad_weights = (summed * factors).view(len(weights), *weights[0].shape)
    active = choice.any(dim=0).tolist()
    return grad_choice, grad_masks, [grad if used else None for grad, used in zip(grad_weights, active)]


def add_weight_gradients(
    groups: Sequence[tuple[int, Any]],
    masks: Tensor,
    weights: Sequence[Tensor],
    per_sample: Tensor,
    grad_choice: Tensor | None,
    grad_masks: Tensor | None,
    grad_weights: Sequence[Tensor | None],
) -> None:
    """Add the values of :func:`weight_gradients` to tensors of their shapes, contiguous, where these are not
    ``None``. Sums over samples and output channels: both can be gone through in parts.
    """
    if grad_choice is not None:
        _add_choice_gradient(per_sample, masks, weights, grad_choice)
    factors = rows_of_masks(masks, weights[0])
    for i, rows in groups:
        mine = per_sample[rows]
        summed = mine[0] if len(mine) == 1 else mine.sum(dim=0)
        if grad_masks is not None:
            grad_masks[i] += over_channels(summed * weights[i])
        if grad_weights[i] is not None:
            grad_weights[i].flatten(1).addcmul_(summed.flatten(1), factors[i])


def _add_choice_gradient(per_sample: Tensor, masks: Tensor, weights: Sequence[Tensor], out: Tensor) -> None:
    """Add ``<per_sample[b], weights[i] * masks[i]>`` to ``out[b, i]``."""
    factors = rows_of_masks(masks, weights[0]).unbind(0)
    rows = _rows_of_a_piece(weights)
    room = weights[0].new_empty(len(weights), rows, len(factors[0]))
    samples = per_sample.flatten(2).split(rows, dim=1)
    for part, *parts in zip(samples, *(weight.flatten(1).split(rows) for weight in weights)):
        piece = room[:, : part.shape[1]]
        for weight, factor, gated in zip(parts, factors, piece.unbind(0)):
            torch.mul(weight, factor, out=gated)
        _add_products(part, piece, out)


def _add_products(samples: Tensor, piece: Tensor, out: Tensor) -> None:
    """Add ``<samples[b], piece[i]>`` to ``out[b, i]``; both of shape ``(..., rows, C_in kT kH kW)``."""
    # A product for each output channel: as one with few rows, few columns and very many terms it takes twice as long.
    out += torch.bmm(samples.transpose(0, 1), piece.permute(1, 2, 0)).sum(dim=0)


def rows_of_masks(masks: Tensor, weight: Tensor) -> Tensor:
    """Masks repeated over the kernel, shape ``(N, C_in * kT * kH * kW)``: factors of a weight's flattened rows.

    On a CPU a product with rows is far quicker than one that broadcasts over the kernel's few entries.
    """
    return masks.repeat_interleave(weight[0, 0].numel(), dim=1)


def _rows_of_a_piece(weights: Sequence[Tensor]) -> int:
    """Output channels of all neurons that are gone through at once."""
    entries = max(_PIECE // len(weights), _PIECE_OF_EACH)
    return min(len(weights[0]), max(8, entries // weights[0][0].numel()))


def _pieces(weights: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor]]:
    """Slices of the output channels, and room for those of all neurons."""
    outputs, rows = len(weights[0]), _rows_of_a_piece(weights)
    piece = weights[0].new_empty(len(weights), rows, *weights[0].shape[1:])
    for first in range(0, outputs, rows):
        yield slice(first, min(first + rows, outputs)), piece[:, : outputs - first]


def over_channels(product: Tensor) -> Tensor:
    """Sum of a product of weights over all but the input channels, shape ``(C_in,)``."""
    # Rows first: a sum over the kernel's few entries is slow.
    return product.flatten(1).sum(dim=0).view(product.shape[1], -1).sum(dim=1)


class _WeightGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, choice: Tensor, masks: Tensor, per_sample: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(choice, masks, per_sample, *weights)
        ctx.set_materialize_grads(False)
        grad_choice, grad_masks, grad_weights = lean_weight_gradients(choice, masks, weights, per_sample)
        zero = per_sample.new_zeros(())
        dense = [zero.expand_as(weight) if g is None else g for weight, g in zip(weights, grad_weights)]
        return (grad_choice, grad_masks, *dense)

    @staticmethod
    def backward(
        ctx: Any, to_choice: Tensor | None, to_masks: Tensor | None, *to_weights: Tensor | None
    ) -> tuple[Any, ...]:
        refuse_third_derivative()
        choice, masks, per_sample, *weights = ctx.saved_tensors
        with torch.autocast(device_type=choice.device.type, enabled=False):
            return second_weight_gradients(choice, masks, per_sample, weights, to_choice, to_masks, to_weights)


def refuse_third_derivative() -> None:
    """For the backward pass of a gradient; ``once_differentiable`` looks at incoming gradients only, not at inputs.

    Raises:
        RuntimeError: The pass is to be differentiated again.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            'a third derivative of a routed convolution was asked for, which has two: differentiate its gradients '
            'without create_graph=True'
        )


def second_weight_gradients(
    choice: Tensor,
    masks: Tensor,
    per_sample: Tensor,
    weights: Sequence[Tensor],
    to_choice: Tensor | None,
    to_masks: Tensor | None,
    to_weights: Sequence[Tensor | None],
) -> tuple[Any, ...]:
    """Vector-Jacobian product of the three expressions in the head of this file, one piece of the weights
    after another.
    """
    neurons, groups = range(len(weights)), members(active_neurons(choice))
    factors = rows_of_masks(masks, weights[0])
    grad_choice, grad_masks = torch.zeros_like(choice), torch.zeros_like(masks)
    grad_sample = torch.zeros_like(per_sample)
    grad_weights: list[Tensor | None] = [
        None if to_choice is None else weight.new_empty(weight.shape) for weight in weights
    ]
    along = None if to_masks is None else rows_of_masks(to_masks, weights[0])
    for rows, piece in _pieces(weights):
        samples = per_sample[:, rows].flatten(1)
        if to_choice is not None:
            for i in neurons:
                torch.mul(weights[i][rows].flatten(1), factors[i], out=piece[i].flatten(1))
            grad_sample[:, rows] += (to_choice @ piece.flatten(1)).view_as(grad_sample[:, rows])
            chosen = (to_choice.t() @ samples).view_as(piece)
            for i in neurons:
                torch.mul(chosen[i].flatten(1), factors[i], out=grad_weights[i][rows].flatten(1))
                grad_masks[i] += over_channels(chosen[i].mul_(weights[i][rows]))
        # What a sample's choice scales: the cotangents of the masks and of the weights, of every neuron.
        for i in neurons:
            scaled = piece[i].flatten(1)
            if to_weights[i] is None:
                scaled.zero_()
            else:
                torch.mul(to_weights[i][rows].flatten(1), factors[i], out=scaled)
            if along is not None:
                scaled.addcmul_(weights[i][rows].flatten(1), along[i])
        _add_products(per_sample[:, rows].flatten(2), piece.flatten(2), grad_choice)
        for i, rows_of_i in groups:
            grad_sample[rows_of_i, rows] += piece[i]
    for i, rows_of_i in groups:
        summed = per_sample[rows_of_i].sum(dim=0)
        if to_weights[i] is not None:
            grad_masks[i] += over_channels(summed * to_weights[i])
        if along is not None:
            extra = (summed.flatten(1) * along[i]).view_as(summed)
            grad_weights[i] = extra if grad_weights[i] is None else grad_weights[i].add_(extra)
    return (grad_choice, grad_masks, grad_sample, *grad_weights)
