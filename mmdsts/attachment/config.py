"""The config that trains with DSTS what another trains without."""

from __future__ import annotations

import copy
from os import PathLike
from typing import Any

from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import print_log

from mmdsts.engine.update_config import plain, train_loop, type_name, with_update
from mmdsts.errors import UsageError

from .decision import Attachment, decide
from .options import Options
from .sampling import test_sampling_of

_IMPORT = 'mmdsts'


def attach(cfg: Config | str | PathLike, **options: Any) -> Config:
    """The DSTS and UDL counterpart of a config of MMAction2.

    The model is run without data and weights to find what the neck needs; a sentence in the log says what was found and
    chosen.

    Args:
        cfg: Config of a recognizer, its file, or ``'mmaction::PATH'``. It is not changed.
        **options: Fields of :class:`~mmdsts.attachment.Options`: ``num_layers``, ``num_neurons``, ``hidden_channels``,
            ``max_share``, ``pooled``, ``udl``.

    Returns:
        The whole config; ``Runner.from_cfg`` takes it.

    Raises:
        ValueError: An option is out of range.
        UsageError: DSTS cannot be attached; the message says why.

    Examples:
        >>> import mmdsts
        >>> slowonly = 'slowonly/slowonly_r50_8xb16-4x16x1-256e_kinetics400-rgb.py'
        >>> cfg = mmdsts.attach(f'mmaction::recognition/{slowonly}', num_neurons=6)
        >>> cfg.model.neck.in_channels
        2048
    """
    if not isinstance(cfg, Config):
        cfg = get_config(cfg) if '::' in str(cfg) else Config.fromfile(cfg)
    chosen = Options(**options)
    attachment = decide(cfg, chosen)
    print_log(f'{attachment.found} {attachment.chosen}', logger='current')
    result = copy.deepcopy(cfg)
    result.merge_from_dict(changes(cfg, attachment, chosen.udl))
    return result


def changes(cfg: Config, attachment: Attachment, udl: bool) -> dict[str, Any]:
    """All that changes in a config, as a config that inherits from it has it.

    Args:
        cfg: The config.
        attachment: What changes in its model.
        udl: Whether to train by UDL.

    Raises:
        UsageError: Its optimizer wrapper or training loop has no counterpart in UDL.
    """
    imports = [*(cfg.get('custom_imports') or {}).get('imports', [])]
    changed: dict[str, Any] = dict(
        custom_imports=dict(imports=list(dict.fromkeys([*imports, _IMPORT])), allow_failed_imports=False),
        model=attachment.model,
    )
    changed.update(_test_pipelines(cfg, attachment))
    if cfg.get('optim_wrapper') and cfg.get('train_cfg'):
        changed.update(_update(cfg, udl))
        changed['default_hooks'] = dict(routing_watch=dict(type='RoutingWatchHook'))
        changed['log_processor'] = dict(type='LayerLogProcessor')
    return changed


def _update(cfg: Config, udl: bool) -> dict[str, Any]:
    wrapper, loop = plain(cfg.optim_wrapper), plain(cfg.train_cfg)
    if not udl:
        constructor = wrapper.get('constructor')
        if constructor in (None, 'DefaultOptimWrapperConstructor'):
            return {}
        # TSM's and others refuse modules that they do not know, such as the neck; ours goes around them.
        return dict(
            optim_wrapper=dict(constructor='UDLOptimWrapperConstructor', base_constructor=constructor),
        )
    name = getattr(cfg, 'filename', None) or 'given'
    try:
        new_wrapper = with_update(wrapper, True)
    except UsageError as error:
        raise UsageError(f'config {name}: {error}, or attach without UDL: --no-udl (udl=False)') from error
    new_loop = train_loop(loop, True)
    if not new_loop['type'].startswith('UDL'):
        raise UsageError(
            f'config {name}: train_cfg.type is {new_loop["type"]!r}, and UDL has loops for EpochBasedTrainLoop and '
            'IterBasedTrainLoop alone. Attach without UDL: --no-udl (udl=False)'
        )
    return dict(optim_wrapper=_difference(wrapper, new_wrapper), train_cfg=_difference(loop, new_loop))


def _difference(old: dict, new: dict) -> dict:
    """What a config that inherits ``old`` says to get ``new``."""
    if old.keys() - new.keys():
        return dict(_delete_=True, **new)
    return {key: value for key, value in new.items() if key not in old or old[key] != value}


def _test_pipelines(cfg: Config, attachment: Attachment) -> dict[str, Any]:
    """Test loaders whose clips make no whole views: of as many clips as do."""
    segments, sampled = attachment.segments, test_sampling_of(cfg)
    if segments is None or sampled is None or segments in (sampled.frames, sampled.clip_len):
        return {}
    if sampled.frames % segments == 0 or attachment.sampling.clip_len != 1 or type_name(sampled.clip_len) == 'dict':
        return {}
    clips = max(sampled.num_clips // segments, 1) * segments
    dataset = plain(cfg.test_dataloader['dataset'])
    changed: dict[str, Any] = {}
    inner, place = dataset, changed
    while 'pipeline' not in inner and 'dataset' in inner:
        inner = inner['dataset']
        place = place.setdefault('dataset', {})
    place['pipeline'] = [
        dict(step, num_clips=clips) if isinstance(step.get('clip_len'), int) else step
        for step in inner.get('pipeline', [])
    ]
    return dict(test_dataloader=dict(dataset=changed))
