"""How the backbone takes part in the simulated, meta and actual step: decided once, when a window opens."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Callable, ContextManager, NamedTuple

from torch import Tensor, nn

from ..hypergradient import Features
from ..options import UDLOptions
from .features import BackboneFeatures
from .tape import BackboneTape

Context = Callable[[], ContextManager]


class BackbonePart(NamedTuple):
    """What surrounds the forwards of the three steps, and what stands for the backbone's part of ``d``.

    There are three ways::

                             training loss               held-out loss           actual step
        features constant    recorded, then repeated     run without gradient    through the recording
        features leaves      recorded                    run with d_hat          through the recording
        part of the whole    run with d                  run with d_hat          run

    *Constants* where steps 1 and 2 do not move the backbone (``scope='neck'``, or it is frozen). *Leaves* for the exact
    gradient of ``scope='full'``. *Part of the whole*, the defaults here: where finite differences move the backbone,
    where the exact gradient has to differentiate it twice, and where it cannot be shared.

    Attributes:
        training: Makes the context of the training loss; finite differences ask for three.
        heldout: Makes the context of the held-out loss.
        actual: Makes the context of the actual step's forward, on the batch of the training loss.
        features: Stands for the backbone's part of ``d`` in the training loss; None: nothing does.
    """

    training: Context = nullcontext
    heldout: Context = nullcontext
    actual: Context = nullcontext
    features: Features | None = None


def take_part(
    model: nn.Module,
    options: UDLOptions,
    upstream: dict[str, Tensor],
    downstream: dict[str, Tensor],
    autocast: Context,
    forward_mode: bool = True,
) -> BackbonePart:
    """Choose how the backbone takes part.

    Args:
        model: The bare model.
        options: ``backbone`` and ``method`` decide.
        upstream: Parameters that the meta step trains.
        downstream: Parameters that the simulated step moves, see :func:`in_simulated_step`.
        autocast: Makes the context of one forward.
        forward_mode: Whether its operators have forward-mode derivatives, as far as is known. Defaults to True.
    """
    name, moved = options.backbone, _inside(downstream, options.backbone)
    # Upstream parameters inside move between the simulated and the actual step, and features with them.
    if name not in model._modules or _inside(upstream, name):
        return BackbonePart()
    tape = BackboneTape(model, name)
    replay = partial(tape.replay, detach=False)
    if not moved:
        return BackbonePart(tape.record_once, tape.constant, replay)
    if options.method == 'exact' and forward_mode:
        record = partial(tape.record, detach=True, leaves=True)
        return BackbonePart(record, actual=replay, features=BackboneFeatures(tape, moved, autocast))
    return BackbonePart()


def in_simulated_step(
    model: nn.Module, options: UDLOptions, upstream: dict[str, Tensor], downstream: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The downstream parameters that the simulated step moves: with ``scope='neck'`` those outside the backbone.

    Raises:
        ValueError: ``scope`` does not fit the model.
    """
    if options.scope == 'full':
        return downstream
    name = options.backbone
    if name not in model._modules:
        raise ValueError(
            f"udl.scope='neck' leaves {name!r} out, but {type(model).__name__} has only "
            f"{sorted(model._modules)}; set udl.backbone or scope='full'"
        )
    deciding, left_out = _inside(upstream, name), _inside(downstream, name)
    if deciding:
        raise ValueError(
            f"udl.scope='neck' takes the features of {name!r} as constants, but upstream parameters are "
            f"in it: {list(deciding)[:3]}; set scope='full'"
        )
    return {n: t for n, t in downstream.items() if n not in left_out}


def _inside(tensors: dict[str, Tensor], module: str | None) -> dict[str, Tensor]:
    """Entries that belong to the submodule ``module``."""
    return {n: t for n, t in tensors.items() if n.startswith(f'{module}.')}
