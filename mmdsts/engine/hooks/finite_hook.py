"""Numbers that are not finite end a training before they spoil what is saved of it."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

_ADVICE = (
    'Checkpoints so far are kept: mend the cause (a broken sample, a learning rate too high), then resume (--resume)'
)


@HOOKS.register_module()
class FiniteHook(Hook):
    """End a training whose input or weights are not finite any more.

    Input is looked at before an iteration, so that nothing has been trained on it: a step that is left out later
    (``udl.non_finite``) has spoiled running statistics already. A loss that is not finite is no harm by itself (mixed
    precision leaves such a step out), and gives a warning; weights that are not finite are the end.

    Raises:
        FloatingPointError: In training; the message says what was found, where, and what to do.
    """

    priority = 'ABOVE_NORMAL'

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Look at the input, in UDL training at that of the held-out batch, too."""
        where = f'iteration {runner.iter + 1}: {_place(runner, batch_idx)}'
        _check(data_batch, where)
        _check(getattr(runner.train_loop, 'heldout_batch', None), f'{where}, its held-out batch')

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict[str, Any] | None = None) -> None:
        """Look at the losses, and at the weights where a loss is not finite."""
        losses = {
            key: float(torch.as_tensor(value).detach().float().mean())
            for key, value in (outputs or {}).items()
            if 'loss' in key and isinstance(value, (float, int, np.number, torch.Tensor))
        }
        bad = ', '.join(f'{key} is {value}' for key, value in losses.items() if not np.isfinite(value))
        if not bad:
            return
        broken = [name for name, p in runner.model.named_parameters() if not p.isfinite().all()]
        where = f'iteration {runner.iter + 1}: {_place(runner, batch_idx)}: {bad}'
        if broken:
            raise FloatingPointError(
                f'{where}, and {len(broken)} tensors of weights are not finite any more, '
                f'{broken[0]} among them. {_ADVICE}'
            )
        print_log(f'{where}; the weights are finite, training goes on', logger='current', level=logging.WARNING)


def _check(batch: Any, where: str) -> None:
    inputs = batch.get('inputs') if isinstance(batch, dict) else None
    for i, sample in enumerate(inputs if inputs is not None else ()):
        if torch.is_tensor(sample) and sample.is_floating_point() and not sample.isfinite().all():
            raise FloatingPointError(
                f'{where}, sample {i}{_name(batch, i)}: its input has {int((~sample.isfinite()).sum())} values that are'
                f' not finite. Nothing was trained on it. {_ADVICE}'
            )


def _place(runner, batch_idx: int) -> str:
    return f'batch {batch_idx} of epoch {runner.epoch + 1}'


def _name(data_batch: dict, i: int) -> str:
    """What the sample says of itself, where it says something."""
    samples = data_batch.get('data_samples') or []
    meta = getattr(samples[i], 'metainfo', {}) if i < len(samples) else {}
    names = [str(meta[key]) for key in ('filename', 'frame_dir', 'video_id', 'img_key', 'index') if key in meta]
    return f' ({names[0]})' if names else ''
