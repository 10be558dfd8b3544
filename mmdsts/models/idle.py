"""METHOD 1.5: a neuron that no sample activated gets no update, whatever the optimizer.

An optimizer skips a parameter without gradient, weight decay, momentum and all, and a backward pass leaves operators
of idle neurons without (:func:`~mmdsts.models.routed_conv.routed_conv`). Zeros get there all the same: those of gates,
which lie in one stack, those of ``zero_grad(set_to_none=False)``, and those of ``DistributedDataParallel``, which fills
its buckets. They are taken away again as soon as a backward pass has ended.

Zeros do not tell who was idle: an active neuron may have a gradient of zeros, as behind a convolution that starts at
zero, and owes its weight decay then. So a layer takes note of whom its forward passes activated, on any process.
"""

from __future__ import annotations

from functools import partial
from typing import Any, List, Sequence, Tuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .recomputation import is_repetition


class IdleNeurons:
    """Leaves neurons of one layer without gradient that were idle since gradients were last cleared.

    "Since" covers gradient accumulation: all forward passes whose backward passes added to the gradients that are
    there. Passes that only ``torch.autograd.grad`` goes through, as in UDL's simulated step, do not count.
    """

    def __init__(self) -> None:
        self._active: set[int] = set()
        #: Gradients of the active neurons as the last backward pass left them.
        self._left: dict[int, _Marks] = {}
        self._averaged = False

    def watch(self, output: Tensor, index: Tensor, neurons: Sequence[nn.Module]) -> None:
        """Take note of a forward pass.

        Args:
            output: What the layer returned: gradients reach it before they reach the neurons.
            index: Active neuron of each sample, long, shape ``(B,)``.
            neurons: The layer's neurons.
        """
        reducer, repetition = _reducer(), is_repetition()
        if not repetition:
            self._averaged = reducer is not None
        if output.requires_grad:
            output.register_hook(
                _reject if repetition and self._averaged else partial(self._begin, index, neurons, reducer)
            )

    def _begin(
        self, index: Tensor, neurons: Sequence[nn.Module], reducer: DistributedDataParallel | None, grad: Tensor
    ) -> None:
        self._active = {i for i in self._active if not self._cleared(i, neurons[i])}
        before = {i: _marks(neurons[i]) for i in set(index.tolist())}
        torch.autograd.Variable._execution_engine.queue_callback(partial(self._end, before, neurons, reducer))

    def _end(
        self, before: dict[int, _Marks], neurons: Sequence[nn.Module], reducer: DistributedDataParallel | None
    ) -> None:
        accumulated = {i for i, marks in before.items() if _marks(neurons[i]) != marks}
        if accumulated or reducer is not None:
            self._active |= accumulated
            # Behind the callback in which DistributedDataParallel writes what it has averaged.
            torch.autograd.Variable._execution_engine.queue_callback(partial(self._drop, neurons, reducer))

    def _drop(self, neurons: Sequence[nn.Module], reducer: DistributedDataParallel | None) -> None:
        if reducer is not None:
            self._active = _on_any_process(self._active, neurons, reducer)
        for i, neuron in enumerate(neurons):
            if i not in self._active:
                for parameter in _parameters(neuron):
                    parameter.grad = None
        self._left = {i: _marks(neurons[i]) for i in self._active}

    def _cleared(self, i: int, neuron: nn.Module) -> bool:
        """Whether gradients were removed, or overwritten with zeros, since the last backward pass."""
        gradients = [p.grad for p in _parameters(neuron) if p.grad is not None]
        return not gradients or (_marks(neuron) != self._left.get(i) and not any(bool(g.any()) for g in gradients))


# Of each gradient: which tensor it is, and how often that was written to.
_Marks = List[Tuple[int, int]]


def _parameters(neuron: Any) -> tuple[nn.Parameter, ...]:
    """What rests; the scoring kernel does not (see :class:`~mmdsts.models.neuron.SpecializedNeuron`)."""
    return neuron.spatial, neuron.temporal, neuron.gate


def _marks(neuron: nn.Module) -> _Marks:
    return [(0, 0) if p.grad is None else (id(p.grad), p.grad._version) for p in _parameters(neuron)]


def _reject(grad: Tensor) -> None:
    # This backward pass runs inside another one, in which DistributedDataParallel writes its zeros later.
    raise RuntimeError(
        'under DistributedDataParallel idle neurons of a DSTS layer would not rest where activation checkpointing '
        "is torch.utils.checkpoint(use_reentrant=True), as MMEngine's activation_checkpointing has it. Leave the neck "
        'out of activation_checkpointing, or use use_reentrant=False'
    )


def _reducer() -> DistributedDataParallel | None:
    """The wrapper in whose forward pass we are, if it is going to average gradients in the backward pass."""
    if not (dist.is_available() and dist.is_initialized()):
        return None
    wrapper = DistributedDataParallel._get_active_ddp_module()
    return wrapper if wrapper is not None and wrapper.require_backward_grad_sync else None


def _on_any_process(active: set[int], neurons: Sequence[nn.Module], reducer: DistributedDataParallel) -> set[int]:
    flags = torch.tensor([int(i in active) for i in range(len(neurons))], device=neurons[0].spatial.device)
    dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=reducer.process_group)
    return set(flags.nonzero().flatten().tolist())
