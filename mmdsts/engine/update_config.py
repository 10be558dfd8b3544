"""The parts of a config that say how parameters are updated: plainly, or by UDL (METHOD 2)."""

from __future__ import annotations

import copy
from typing import Any

from mmengine.config import Config

from mmdsts.errors import UsageError

_LOOPS = dict(EpochBasedTrainLoop='UDLEpochBasedTrainLoop', IterBasedTrainLoop='UDLIterBasedTrainLoop')
_PLAIN_LOOPS = {udl: plain for plain, udl in _LOOPS.items()}


def plain(config: Any) -> Any:
    """A copy of a part of a config, of Python's own dicts and lists."""
    return Config(dict(part=copy.deepcopy(config))).to_dict()['part']


def type_name(kind: Any) -> str:
    """Name of a class that a config gives as such, by its name, or by its name in a module or scope."""
    return str(getattr(kind, '__name__', kind)).split('.')[-1]


def with_update(optim_wrapper: dict, udl: bool) -> dict:
    """The optimizer wrapper of a config, for training with or without UDL; everything else stays.

    Args:
        optim_wrapper: Config of a wrapper of either kind, or of MMEngine's mixed precision.
        udl: Whether to train by UDL.

    Raises:
        UsageError: The wrapper is of another kind, and UDL is wanted.
    """
    wrapper = plain(optim_wrapper)
    kind = type_name(wrapper.get('type', 'OptimWrapper'))
    if udl:
        if kind == 'AmpOptimWrapper':
            kind, wrapper = 'OptimWrapper', _with_amp(wrapper)
        if kind not in ('OptimWrapper', 'UDLOptimWrapper'):
            raise UsageError(
                f"optim_wrapper.type is {kind!r}: training by UDL needs 'OptimWrapper', 'AmpOptimWrapper' or "
                "'UDLOptimWrapper'"
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


def train_loop(train_cfg: dict, udl: bool) -> dict:
    """The training loop of a config, for training with or without UDL; a loop of another kind stays as it is."""
    loop = plain(train_cfg)
    by_epoch = loop.pop('by_epoch', True)
    kind = type_name(loop.get('type') or ('EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop'))
    if not udl:
        loop.pop('heldout_dataloader', None)
    return dict(loop, type=(_LOOPS if udl else _PLAIN_LOOPS).get(kind, kind))


def _with_amp(wrapper: dict) -> dict:
    """MMEngine's arguments for mixed precision as the one of UDLOptimWrapper."""
    rest = {name: value for name, value in wrapper.items() if name not in ('loss_scale', 'dtype', 'use_fsdp')}
    amp = dict(dtype=wrapper.get('dtype') or 'float16')
    if amp['dtype'] == 'float16':
        amp['loss_scale'] = wrapper.get('loss_scale', 'dynamic')
    return dict(rest, amp=amp)
