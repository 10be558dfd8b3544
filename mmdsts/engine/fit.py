"""Whether a checkpoint is one of this model and this optimizer; MMEngine loads what happens to fit and warns."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any, Sequence

from mmengine.optim import OptimWrapper
from torch import nn

from .checkpoint_files import CheckpointError, why_not_resumable
from .constructor import GROUP


def load_exactly(model: nn.Module, checkpoint: dict[str, Any], path: str) -> None:
    """Load weights, all of them and no others.

    Args:
        model: The model; a distributed or test-time wrapper is looked through.
        checkpoint: Content of a checkpoint: with ``'state_dict'``, or the weights themselves.
        path: Where it came from, for the message.

    Raises:
        CheckpointError: Parameters are missing, left over or of another shape; the message names them. What does fit
            has been loaded.
    """
    model = getattr(model, 'module', model)
    weights = checkpoint.get('state_dict', checkpoint)
    state = OrderedDict((re.sub(r'^module\.', '', name), value) for name, value in weights.items())
    present = model.state_dict()
    shapes = {
        name: (tuple(value.shape), tuple(present[name].shape))
        for name, value in state.items()
        if name in present and hasattr(value, 'shape') and value.shape != present[name].shape
    }
    fitting = OrderedDict((name, value) for name, value in state.items() if name not in shapes)
    if hasattr(weights, '_metadata'):
        fitting._metadata = weights._metadata
    missing, left_over = model.load_state_dict(fitting, strict=False)
    missing = [name for name in missing if name not in shapes and not name.endswith('num_batches_tracked')]
    of_shape = [f'{name} {theirs} instead of {ours}' for name, (theirs, ours) in shapes.items()]
    differences = [
        f'{what} {_names(names)}'
        for what, names in (('missing are', missing), ('left over are', left_over), ('of another shape are', of_shape))
        if names
    ]
    if differences:
        raise CheckpointError(f'{path} does not fit the model: of its parameters, ' + '; '.join(differences))


def _names(names: Sequence[str], most: int = 3) -> str:
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more


def check_resumable(runner, checkpoint: dict[str, Any]) -> None:
    """Check that a run can go on from a checkpoint.

    Args:
        runner: The runner, its optimizer wrapper built.
        checkpoint: Content of the checkpoint.

    Raises:
        CheckpointError: It holds no training, or that of another model or optimizer.
    """
    path = runner._load_from
    instead = f'To begin a new training with its weights, set load_from={path!r} and do not resume'
    reason = why_not_resumable(checkpoint)
    if reason is not None:
        raise CheckpointError(f'{path} {reason}. {instead}')
    try:
        load_exactly(runner.model, checkpoint, path)
    except CheckpointError as error:
        raise CheckpointError(
            f'{error}. Resume with the config and the mmdsts version that it was trained by. {instead}'
        ) from error
    if not isinstance(runner.optim_wrapper, OptimWrapper) or 'optimizer' not in checkpoint:
        return
    theirs, ours = (
        state.get('param_groups', []) for state in (checkpoint['optimizer'], runner.optim_wrapper.state_dict())
    )
    if _shape(theirs) != _shape(ours):
        raise CheckpointError(
            f'{path} was saved by a run {_describe(theirs)}, but this run is one {_describe(ours)}. '
            f'Resume with the config and the mmdsts version that it was trained by. {instead}'
        )


def _shape(groups: list[dict]) -> list[tuple]:
    return [(len(group['params']), group.get(GROUP)) for group in groups]


def _describe(groups: list[dict]) -> str:
    """In words, whose optimizer this is."""
    kind = 'with UDL (UDLOptimWrapper)' if any(GROUP in group for group in groups) else 'without UDL'
    sizes = ' + '.join(str(len(group['params'])) for group in groups)
    return f'{kind} whose optimizer holds {sizes} parameters in {len(groups)} group(s)'
