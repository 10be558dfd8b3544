"""The config of one run, made from the config of an experiment."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import Any, Iterator

from mmengine.config import Config

from mmdsts.errors import CONFIG_MISTAKES, UsageError, one_line

from .variants import Variant

_LOOPS = dict(EpochBasedTrainLoop='UDLEpochBasedTrainLoop', IterBasedTrainLoop='UDLIterBasedTrainLoop')
_PLAIN_LOOPS = {udl: plain for plain, udl in _LOOPS.items()}


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


@contextmanager
def mistakes_named(cfg: Config) -> Iterator[None]:
    """UsageError, with the name of the config, for what a part of it raises that cannot be built."""
    try:
        yield
    except CONFIG_MISTAKES as error:
        raise UsageError(f'config {cfg.filename}: {one_line(error)}') from error


def plain(config: Any) -> Any:
    """A copy of a part of a config, of Python's own dicts and lists."""
    return Config(dict(part=copy.deepcopy(config))).to_dict()['part']


def with_update(optim_wrapper: dict, udl: bool) -> dict:
    """The optimizer wrapper of a config, for training with or without UDL; everything else stays.

    Args:
        optim_wrapper: Config of a wrapper of either kind.
        udl: Whether to train by UDL.

    Raises:
        UsageError: Mixed precision of MMEngine's own wrapper is to be combined with UDL.
    """
    wrapper = plain(optim_wrapper)
    kind = type_name(wrapper.get('type', 'OptimWrapper'))
    if udl:
        if kind not in ('OptimWrapper', 'UDLOptimWrapper'):
            raise UsageError(
                f"optim_wrapper.type is {kind!r}: variants with UDL need 'OptimWrapper' or "
                "'UDLOptimWrapper' (mixed precision is its argument amp)"
            )
        return dict(wrapper, type='UDLOptimWrapper')
    wrapper.pop('udl', None)
    if kind == 'UDLOptimWrapper':
        for name in ('amp', 'base_constructor'):
            wrapper.pop(name, None)
        if type_name(wrapper.get('constructor', '')) == 'UDLOptimWrapperConstructor':
            del wrapper['constructor']
        wrapper['type'] = 'OptimWrapper'
    wrapper.setdefault('type', 'OptimWrapper')
    return wrapper


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
    plain_loop = 'EpochBasedTrainLoop' if cfg.train_cfg.get('by_epoch', True) else 'IterBasedTrainLoop'
    loop = type_name(cfg.train_cfg.get('type') or plain_loop)
    cfg.train_cfg.pop('by_epoch', None)
    cfg.train_cfg.type = (_LOOPS if variant.udl else _PLAIN_LOOPS).get(loop, loop)
    if not variant.udl:
        cfg.train_cfg.pop('heldout_dataloader', None)
        cfg.param_scheduler = _plain_schedulers(cfg.get('param_scheduler'))
    # In the process that trains, augmentation would draw from the same generator as the noise of routing and gates, and
    # the frames of a batch would depend on the variant.
    cfg.train_dataloader.num_workers = max(1, cfg.train_dataloader.get('num_workers', 0))
    imports = cfg.setdefault('custom_imports', dict(imports=[], allow_failed_imports=False))
    imports['imports'] = list(dict.fromkeys([*imports['imports'], 'mmdsts', 'mmdsts.analysis.ablation']))
    cfg.load_from, cfg.resume = checkpoint, False
    checkpoints = cfg.setdefault('default_hooks', {}).setdefault('checkpoint', dict(type='CheckpointHook'))
    # The last one counts: a best one would be chosen on the clips that are compared.
    checkpoints.pop('save_best', None)
    checkpoints.update(max_keep_ckpts=1, save_last=True)
    evaluators = cfg.get('test_evaluator') or []
    evaluators = [*evaluators] if isinstance(evaluators, (list, tuple)) else [evaluators]
    cfg.test_evaluator = [*evaluators, dict(type='ClipScores', out=scores)]
    return cfg


def type_name(kind: Any) -> str:
    """Name of a class that a config gives as such, by its name, or by its name in a module or scope."""
    return str(getattr(kind, '__name__', kind)).split('.')[-1]


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
