"""The config that trains with DSTS what another trains without."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from os import PathLike
from typing import Any

from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import print_log

from mmdsts.engine.update_config import plain, train_loop, type_name, with_update
from mmdsts.errors import UsageError

from .decision import Attachment, decide
from .options import Options
from .sampling import sampling_of

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
        cfg = read(cfg)
    chosen = Options(**options)
    attachment = decide(cfg, chosen)
    print_log(f'{attachment.found} {attachment.chosen}', logger='current')
    result = copy.deepcopy(cfg)
    result.merge_from_dict(changes(cfg, attachment, chosen.udl))
    return result


def read(source: str | PathLike) -> Config:
    """A config file, or one that an installed package comes with.

    Args:
        source: Path, or ``'PACKAGE::PATH'``.

    Raises:
        UsageError: The package is not installed. MMEngine alone would install it by pip.
    """
    package, colons, path = str(source).partition('::')
    if not colons:
        return Config.fromfile(source)
    if not (package.isidentifier() and path and find_spec(package)):
        raise UsageError(f'config {source}: {package!r} is no installed package, expected mmaction::PATH or a file')
    return get_config(str(source))


def trains(cfg: Config) -> bool:
    """Whether a config says how it trains."""
    return bool(cfg.get('optim_wrapper') and cfg.get('train_cfg'))


def changes(cfg: Config, attachment: Attachment, udl: bool) -> dict[str, Any]:
    """All that changes in a config, as a config that inherits from it has it.

    Args:
        cfg: The config.
        attachment: What changes in its model.
        udl: Whether to train by UDL.

    Raises:
        UsageError: Its optimizer wrapper or training loop has no counterpart in UDL.
    """
    changed: dict[str, Any] = dict(custom_imports=_imports(cfg.get('custom_imports') or {}), model=attachment.model)
    changed.update(_test_pipelines(cfg, attachment))
    if trains(cfg):
        changed.update(_update(cfg, udl))
        changed['default_hooks'] = dict(routing_watch=dict(type='RoutingWatchHook'))
        if type_name((cfg.get('log_processor') or {}).get('type', 'LogProcessor')) == 'LogProcessor':
            changed['log_processor'] = dict(type='LayerLogProcessor')
    return _said_by_child(cfg, changed)


def _imports(own: dict) -> dict[str, Any]:
    imports = own.get('imports') or []
    imports = [imports] if isinstance(imports, str) else imports
    allow = own.get('allow_failed_imports', False)
    return dict(imports=list(dict.fromkeys([*imports, _IMPORT])), allow_failed_imports=allow)


def _said_by_child(base: Any, changed: dict) -> dict:
    """What differs from the base, and whole dicts where it has none: MMEngine merges no dict into None."""
    if not isinstance(base, (dict, Config)):
        return dict(_delete_=True, **changed)
    said = {}
    for name, value in changed.items():
        if isinstance(value, dict) and name in base and '_delete_' not in value:
            value = _said_by_child(base[name], value)
            if not value:
                continue
        elif name in base and base[name] == value:
            continue
        said[name] = value
    return said


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
    return dict(optim_wrapper=_in_place_of(wrapper, new_wrapper), train_cfg=_in_place_of(loop, new_loop))


def _in_place_of(old: dict, new: dict) -> dict:
    """What a config that inherits ``old`` says to get ``new``; what both have is left out later."""
    return dict(_delete_=True, **new) if old.keys() - new.keys() else new


def _test_pipelines(cfg: Config, attachment: Attachment) -> dict[str, Any]:
    """Loaders whose clips make no whole views: of as many clips as do."""
    segments = attachment.segments
    if segments is None or attachment.sampling.clip_len != 1:
        return {}
    changed = {}
    for name in ('val_dataloader', 'test_dataloader'):
        sampled = sampling_of(cfg, (name,))
        if sampled and sampled.clip_len != segments and sampled.frames % segments:
            clips = max(sampled.num_clips // segments, 1) * segments
            changed[name] = dict(dataset=_with_clips(plain(cfg[name]['dataset']), clips))
    return changed


def _with_clips(dataset: dict, clips: int) -> dict:
    """A data set, or a wrapper of such as ``ConcatDataset``, that samples so many clips of a video."""
    changed = dict(dataset)
    if 'pipeline' in dataset:
        changed['pipeline'] = [
            dict(step, num_clips=clips) if isinstance(step.get('clip_len'), int) else step
            for step in dataset['pipeline']
        ]
    if 'dataset' in dataset:
        changed['dataset'] = _with_clips(dataset['dataset'], clips)
    if 'datasets' in dataset:
        changed['datasets'] = [_with_clips(part, clips) for part in dataset['datasets']]
    return changed
