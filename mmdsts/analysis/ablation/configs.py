"""The config of one run, made from the config of an experiment."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import Any, Iterator

from mmengine.config import Config

from mmdsts.engine.update_config import plain, train_loop, type_name, with_update
from mmdsts.errors import CONFIG_MISTAKES, UsageError, one_line

from .variants import Variant


def neck_of(cfg: Config) -> dict:
    """The DSTS neck of a config, as a plain dict.

    Raises:
        UsageError: There is none.
    """
    model = cfg.get('model') or {}
    neck = model.get('neck')
    kind = type_name(neck['type']) if neck else None
    if kind != 'DSTSNeck':
        raise UsageError(
            f"config {cfg.filename}: model.neck is {kind and repr(kind)}, expected a 'DSTSNeck', whose "
            'variants are compared; add one with --neck KEY=VALUE ...'
        )
    return dict(plain(neck), type='DSTSNeck')


def require(cfg: Config, *names: str) -> None:
    """UsageError where a config lacks one of these entries, or has None for it."""
    for name in names:
        part = cfg
        for key in name.split('.'):
            part = part.get(key)
            if not part:
                raise UsageError(f'config {cfg.filename} has no {name}')


@contextmanager
def mistakes_named(cfg: Config) -> Iterator[None]:
    """UsageError, with the name of the config, for what a part of it raises that cannot be built."""
    try:
        yield
    except CONFIG_MISTAKES as error:
        raise UsageError(f'config {cfg.filename}: {one_line(error)}') from error


def run_config(cfg: Config, variant: Variant, checkpoint: str | None, scores: str) -> Config:
    """The config that trains and tests one variant.

    Args:
        cfg: Config of the experiment.
        variant: The variant.
        checkpoint: Start of the training; ``None``: from scratch.
        scores: File for the class scores of the test clips, see :class:`~.record.ClipScores`.
    """
    cfg = copy.deepcopy(cfg)
    if variant.neck is None:
        cfg.model.pop('neck', None)
    else:
        cfg.model.neck = variant.neck
    cfg.optim_wrapper = with_update(cfg.optim_wrapper, variant.udl)
    cfg.train_cfg = train_loop(cfg.train_cfg, variant.udl)
    if not variant.udl:
        cfg.param_scheduler = _plain_schedulers(cfg.get('param_scheduler'))
    # In the process that trains, augmentation would draw from the same generator as the noise of routing and gates, and
    # the frames of a batch would depend on the variant.
    cfg.train_dataloader.num_workers = max(1, cfg.train_dataloader.get('num_workers', 0))
    if not cfg.get('custom_imports'):
        cfg.custom_imports = dict(imports=[], allow_failed_imports=False)
    imports = cfg.custom_imports
    imports['imports'] = list(dict.fromkeys([*imports['imports'], 'mmdsts', 'mmdsts.analysis.ablation']))
    cfg.load_from, cfg.resume = checkpoint, False
    # A config may also have None for the hooks, or for this one, which a run cannot do without.
    if not cfg.get('default_hooks'):
        cfg.default_hooks = {}
    if not cfg.default_hooks.get('checkpoint'):
        cfg.default_hooks.checkpoint = dict(type='CheckpointHook')
    checkpoints = cfg.default_hooks.checkpoint
    # The last one counts: a best one would be chosen on the clips that are compared.
    checkpoints.pop('save_best', None)
    checkpoints.update(max_keep_ckpts=1, save_last=True)
    evaluators = cfg.get('test_evaluator') or []
    evaluators = [*evaluators] if isinstance(evaluators, (list, tuple)) else [evaluators]
    cfg.test_evaluator = [*evaluators, dict(type='ClipScores', out=scores)]
    return cfg


def _plain_schedulers(schedulers: Any) -> Any:
    """Schedules of downstream groups for all, those of upstream groups left out."""
    if not schedulers:
        return schedulers
    result = []
    for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
        scheduler = plain(scheduler)
        if type_name(scheduler['type']) == 'GroupScheduler':
            if scheduler.pop('group') == 'upstream':
                continue
            scheduler['type'] = scheduler.pop('policy')
        result.append(scheduler)
    return result
