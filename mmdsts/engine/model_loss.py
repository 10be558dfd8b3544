"""The loss of an MMEngine model as a function of tensors, as the hypergradient takes it (METHOD 2)."""

from __future__ import annotations

from typing import Any, Callable, ContextManager

import torch
from torch import Tensor, nn
from torch.func import functional_call

Batch = Any
Context = Callable[[], ContextManager]

CHECKPOINTING = (
    'activation checkpointing inside what the simulated and meta steps differentiate: a recomputed '
    "forward would see the live parameters, not the simulated ones. Use udl=dict(scope='neck'), which "
    'leaves the backbone out, or switch it off (with_cp, use_checkpoint, activation_checkpointing)'
)


def functional_loss(model: nn.Module, data: Batch, *tensors: dict[str, Tensor]) -> Tensor:
    """Loss of a batch with ``tensors`` in the place of parameters, moving nothing live.

    Args:
        model: The bare model.
        data: A preprocessed batch, dict or sequence.
        *tensors: Dicts parameter name -> tensor; parameters not named stay as they are.

    Returns:
        The total loss, a scalar with a graph.
    """
    state = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for group in tensors:
        state.update(group)
    if isinstance(data, dict):
        losses = functional_call(model, state, (), dict(data, mode='loss'))
    else:
        losses = functional_call(model, state, tuple(data), dict(mode='loss'))
    return model.parse_losses(losses)[0]


def train_loss(
    model: nn.Module,
    data: Batch,
    autocast: Context,
    backbone: Context,
    upstream: dict[str, Tensor],
    downstream: dict[str, Tensor],
) -> Tensor:
    """Loss of the training batch for the simulated step.

    Args:
        model: The bare model.
        data: A preprocessed batch.
        autocast: Makes the context of one forward.
        backbone: Makes another one: what the backbone does (:class:`~mmdsts.engine.backbone.BackbonePart`).
        upstream: Name -> tensor.
        downstream: Name -> tensor.

    Returns:
        Scalar.

    Raises:
        RuntimeError: Its graph holds a reentrant checkpoint.
    """
    with autocast(), backbone():
        loss = functional_loss(model, data, upstream, downstream)
    reject_reentrant_checkpointing(loss)
    return loss


def heldout_loss(
    model: nn.Module,
    data: Batch,
    autocast: Context,
    backbone: Context,
    upstream: dict[str, Tensor],
    downstream: dict[str, Tensor],
) -> Tensor:
    """Loss of the held-out batch for the meta step; arguments as :func:`train_loss`.

    In training mode, as METHOD 2 has it: batch norm uses the statistics of the held-out batch, on copies of
    the running ones.

    Raises:
        RuntimeError: Activation checkpointing saves a tensor.
    """
    # The gradient is taken after functional_call has put d back in the place of d_hat: what recomputes its forward
    # then (non-reentrant checkpointing, by saved-tensor hooks) would silently do so at d.
    guard = torch.autograd.graph.disable_saved_tensors_hooks(f'UDL met {CHECKPOINTING}')
    with autocast(), backbone(), guard:
        return functional_loss(model, data, upstream, downstream)


def reject_reentrant_checkpointing(loss: Tensor) -> None:
    """Raise if the graph of ``loss`` holds a reentrant checkpoint, which ``torch.autograd.grad`` cannot pass.

    Raises:
        RuntimeError: There is one.
    """
    stack, seen = [loss.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() == 'CheckpointFunctionBackward':
            raise RuntimeError(f'UDL met {CHECKPOINTING}')
        stack.extend(parent for parent, _ in node.next_functions)
