"""METHOD 1.5 under distributed training: a neuron that no process activated must get no update.

In one process an idle neuron has no gradient, and optimizers skip it. ``DistributedDataParallel`` turns that
into zeros, which weight decay and momentum would follow. So before any optimizer steps in a distributed run,
gradients of neurons that are zero throughout on every process (they are the same on all of them by then) are
dropped again.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch.distributed as dist
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

_neurons: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def watch(neuron: nn.Module) -> None:
    """Have the gradients of a neuron that rests dropped before each optimizer step of a distributed run."""
    _neurons.add(neuron)


def drop_idle_gradients(optimizer: Optimizer, args: Any = (), kwargs: Any = None) -> None:
    """Drop zero gradients of watched neurons; a hook with the signature of an optimizer step pre-hook."""
    if not (dist.is_available() and dist.is_initialized()):
        return
    for neuron in _neurons:
        for parameter in (neuron.spatial, neuron.temporal, neuron.gate):
            if parameter.grad is not None and not parameter.grad.any():
                parameter.grad = None


# For every optimizer: METHOD 1.5 holds for plain OptimWrapper and for people's own loops too.
register_optimizer_step_pre_hook(drop_idle_gradients)
