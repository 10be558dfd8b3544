"""The loss of an MMEngine model as a function of tensors, as the hypergradient takes it (METHOD 2)."""
from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Callable, ContextManager

import torch
from mmengine.model import is_model_wrapper
from torch import Tensor, nn
from torch.func import functional_call

from .backbone_tape import BackboneTape

Batch = Any

CHECKPOINTING = ('activation checkpointing inside what the simulated and meta steps differentiate: a recomputed '
                 "forward would see the live parameters, not the simulated ones. Use udl=dict(scope='neck'), which "
                 'leaves the backbone out, or switch it off (with_cp, use_checkpoint, activation_checkpointing)')


def bare(model: nn.Module) -> nn.Module:
    """The model without its distributed wrapper."""
    return model.module if is_model_wrapper(model) else model


def run_forward(model: nn.Module, data: Batch) -> dict[str, Tensor]:
    """Losses of a preprocessed batch through ``model``, which may be a distributed wrapper."""
    if isinstance(data, dict):
        return model(**data, mode='loss')
    return model(*data, mode='loss')


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


class TrainLoss:
    """Loss of the training batch for the simulated step.

    The first evaluation, at the live parameters, records the backbone; later ones (finite differences)
    repeat the recorded features where these are constants.

    Args:
        model: The bare model.
        data: A preprocessed batch.
        autocast: Makes the context of one forward.
        tape: Tape of the batch, None where nothing is shared.
        constant_features: Whether the backbone's features count as constants (``scope='neck'``).
        leaves: Whether the recorded features are leaves that require a gradient, for :class:`BackboneFeatures`.
            Defaults to False.
    """

    def __init__(self, model: nn.Module, data: Batch, autocast: Callable[[], ContextManager],
                 tape: BackboneTape | None, constant_features: bool, leaves: bool = False) -> None:
        self.model = model
        self.data = data
        self.autocast = autocast
        self.tape = tape
        self.constant_features = constant_features
        self.leaves = leaves

    def __call__(self, upstream: dict[str, Tensor], downstream: dict[str, Tensor]) -> Tensor:
        """Scalar loss at the given tensors."""
        tape, tensors = nullcontext(), (upstream, downstream)
        if self.tape is not None and not self.tape.recorded:
            tape = self.tape.record(self.constant_features or self.leaves, self.leaves)
            # The recording runs the live backbone, and its names are not there while the stand-in is.
            tensors = (upstream, without(downstream, self.tape.name))
        elif self.tape is not None and self.constant_features:
            tape = self.tape.replay(detach=True)
        with self.autocast(), tape:
            loss = functional_loss(self.model, self.data, *tensors)
        reject_reentrant_checkpointing(loss)
        return loss


class HeldoutLoss:
    """Loss of the held-out batch for the meta step; arguments as :class:`TrainLoss`.

    In training mode, as METHOD 2 has it: batch norm uses the statistics of the held-out batch, on copies of
    the running ones.
    """

    def __init__(self, model: nn.Module, data: Batch, autocast: Callable[[], ContextManager],
                 tape: BackboneTape | None, constant_features: bool) -> None:
        self.model = model
        self.data = data
        self.autocast = autocast
        self.tape = tape if constant_features else None

    def __call__(self, upstream: dict[str, Tensor], downstream: dict[str, Tensor]) -> Tensor:
        """Scalar loss at the given tensors."""
        features = nullcontext() if self.tape is None else self.tape.constant()
        # The gradient is taken after functional_call has put d back in the place of d_hat: what recomputes its forward
        # then (non-reentrant checkpointing, by saved-tensor hooks) would silently do so at d.
        guard = torch.autograd.graph.disable_saved_tensors_hooks(f'UDL met {CHECKPOINTING}')
        with self.autocast(), features, guard:
            return functional_loss(self.model, self.data, upstream, downstream)


def without(tensors: dict[str, Tensor], module: str) -> dict[str, Tensor]:
    """Entries that do not belong to the submodule ``module``."""
    return {name: t for name, t in tensors.items() if not name.startswith(f'{module}.')}


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
