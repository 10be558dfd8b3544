"""What DSTS needs in a recognizer: chosen from a dry run, for a reason that can be said."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
from mmaction.models.recognizers import Recognizer2D, Recognizer3D
from mmaction.registry import MODELS
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmdsts.engine.random_state import preserve_random_state
from mmdsts.engine.update_config import plain, type_name
from mmdsts.errors import CONFIG_MISTAKES, UsageError, one_line
from mmdsts.models.feature import FeatureAdapter, is_map_with_token

from .dry_run import DryRun, NeckStandIn, dry_run, run
from .options import Options
from .sampling import LOADERS, Sampling, sampling_of
from .width import count_neck, layer_width, sizes

#: Backbones that pool, and what hands on their map, too.
_WITH_MAP = {name: f'{name}WithMap' for name in ('VisionTransformer', 'TimeSformer', 'UniFormerV2')}
#: Attributes by which backbones say into what grid they divide their input.
_GRIDS = (
    'grid_size',
    'patch_resolution',
    'patch_embed.grid_size',
    'patch_embed.init_out_size',
    'patch_embed.patches_resolution',
)
_BY_TOKEN = 'The head reads the class token alone, so the mean of what the neck adds to the map is added to the token.'
_NO_NECK = dict(
    RecognizerGCN='it runs no neck, and its feature is a graph of persons and joints, without the height and width '
    'that spatial operators need. Heat maps of the same skeletons have both: attach to a PoseC3D config',
    RecognizerAudio='it runs no neck, and its feature is a spectrogram, which has no height and width',
    RecognizerOmni='it runs no neck, and its backbone takes pictures and videos in turn',
    MMRecognizer3D='it runs no neck, and its head takes two modalities',
)


class Attachment(NamedTuple):
    """What DSTS changes in the model of a config.

    Attributes:
        model: Changes in ``model``; a neck that was there is replaced whole.
        found: What the dry run saw, as a sentence.
        chosen: What was chosen, and why, as sentences.
        sampling: What the pipeline of the training hands to the model.
        segments: Frames of a view of a 2D recognizer, else None.
    """

    model: dict
    found: str
    chosen: str
    sampling: Sampling
    segments: int | None


def decide(cfg: Any, options: Options = Options(), name: str | None = None) -> Attachment:
    """Find what the neck needs in the recognizer of a config.

    Args:
        cfg: Whole config, of which ``model`` and the pipelines are looked at.
        options: What is chosen by hand. Defaults to all defaults.
        name: What the config is called in errors. Defaults to None: its file.

    Raises:
        UsageError: DSTS cannot be attached; the message says why.
    """
    name = name or getattr(cfg, 'filename', None) or 'given'
    model = plain(cfg.get('model') or {})
    is_2d = _is_2d(model, name)
    sampling = sampling_of(cfg)
    if sampling is None and not any(cfg.get(loader) for loader in LOADERS):
        raise UsageError(
            f'config {name}: it has a model and no data loaders, whose pipelines say how many frames a clip has '
            '(clip_len). Attach to a config that inherits from it by _base_ and has them'
        )
    if sampling is None:
        raise UsageError(f'config {name}: no pipeline of its data loaders says clip_len, the frames of a clip')
    base = dict(model, type='DSTSRecognizer2D', num_segments=_segments(model, sampling)) if is_2d else dict(model)
    kind = type_name(model['backbone'].get('type'))
    backbone = _WITH_MAP.get(kind) if not options.pooled else None
    if backbone:
        base['backbone'] = dict(model['backbone'], type=backbone)
    seen = dry_run(base, sampling, name, head=not backbone)
    if backbone and isinstance(seen.features, Tensor):  # it returned a map as it was
        backbone = None
    neck, notes = _neck_for(seen, kind, sampling, is_2d, options, name)
    width = layer_width(dict(neck, **sizes(options)), seen.parameters, options, name)
    neck = dict(type='DSTSNeck', **neck, **({} if width is None else dict(hidden_channels=width)), **sizes(options))
    changes: dict[str, Any] = {}
    if is_2d:
        changes['type'] = 'DSTSRecognizer2D'
        if _declared(seen) is None:
            changes['num_segments'] = sampling.frames
    if backbone:
        changes['backbone'] = dict(type=backbone)
    own = model.get('neck')
    changes['neck'] = dict(_delete_=True, type='NeckChain', necks=[neck, own]) if own else neck
    _check_works(seen, neck, sampling, name)
    in_neck = count_neck(neck)
    whole = seen.parameters + in_neck
    chosen = (
        f'The neck has {options.num_layers} layers of {options.num_neurons} neurons'
        + (f', hidden_channels={width}' if width else '')
        + f': {_millions(in_neck)} of {_millions(whole)} parameters, {100 * in_neck / whole:.1f} %'
        + (f' (at most {100 * options.max_share:g} %).' if options.hidden_channels is None else ', as asked for.')
    )
    head = type_name((model.get('cls_head') or {}).get('type'))
    found = f'{type_name(model["backbone"]["type"])} hands {head} {notes.feature}'
    found += '.' if sampling.size_said else ' where frames are 224 x 224: the pipeline does not say their size.'
    return Attachment(changes, found, ' '.join([*notes.reasons, chosen]), sampling, sampling.frames if is_2d else None)


class _Notes(NamedTuple):
    feature: str
    reasons: list[str]


def _is_2d(model: dict, name: str) -> bool:
    """Whether it is a 2D recognizer; what runs no neck is refused."""
    if 'type' not in model:
        raise UsageError(f'config {name}: it has no model with a type, expected that of a recognizer of MMAction2')
    kind = type_name(model['type'])
    for part in ('backbone', 'cls_head'):
        if kind.startswith(('Recognizer', 'DSTSRecognizer')) and not model.get(part):
            raise UsageError(f'config {name}: model.{part} is missing; DSTS goes between a backbone and a head')
    try:
        with DefaultScope.overwrite_default_scope('mmaction'):
            cls = model['type'] if isinstance(model['type'], type) else MODELS.get(model['type'])
    except (*CONFIG_MISTAKES,) as error:
        raise UsageError(f'config {name}: model.type {kind!r}: {one_line(error)}') from error
    if not isinstance(cls, type):
        raise UsageError(
            f'config {name}: model.type {kind!r} is no recognizer that is registered here. DSTS goes between '
            'backbone and head of Recognizer2D and Recognizer3D; one of your own has to be named in custom_imports'
        )
    neck = model.get('neck') or {}
    necks = [neck, *(neck.get('necks') or [])]
    if any(type_name(entry.get('type')) in ('DSTSNeck', 'DeployedDSTSNeck') for entry in necks):
        raise UsageError(f'config {name}: its model has a DSTS neck already')
    if issubclass(cls, Recognizer3D):
        return False
    if not issubclass(cls, Recognizer2D):
        reason = _NO_NECK.get(kind, 'expected Recognizer2D or Recognizer3D, the recognizers that run a neck')
        raise UsageError(f'config {name}: model.type is {kind!r}: {reason}')
    if cls.extract_feat not in (Recognizer2D.extract_feat, MODELS.get('DSTSRecognizer2D').extract_feat):
        raise UsageError(
            f'config {name}: {kind} has an extract_feat of its own, which DSTSRecognizer2D would replace. Derive it '
            'from mmdsts.models.DSTSRecognizer2D'
        )
    return True


def _segments(model: dict, sampling: Sampling) -> int | None:
    """For the dry run: what the pipeline samples, unless the model says it itself, which may disagree."""
    said = [part.get('num_segments') for part in (model['backbone'], model['cls_head'])]
    return None if any(said) else sampling.frames


def _declared(seen: DryRun) -> int | None:
    """Frames of a view as backbone or head say them."""
    parts = (seen.model.backbone, seen.model.cls_head)
    return next((part.num_segments for part in parts if getattr(part, 'num_segments', None)), None)


def _neck_for(
    seen: DryRun, kind: str, sampling: Sampling, is_2d: bool, options: Options, name: str
) -> tuple[dict[str, Any], _Notes]:
    """Arguments of the neck that the features ask for."""
    features = seen.features
    if isinstance(features, Tensor):
        shape = _described(features, is_2d)
        if features.dim() == (4 if is_2d else 5):
            reasons = [] if not is_2d else [f'DSTSRecognizer2D makes clips of the {sampling.frames} frames of a view.']
            return dict(in_channels=features.shape[1]), _Notes(f'maps {shape}', reasons)
        if features.dim() == 3:
            grid, said = _grid(seen.model.backbone, features.shape[1], kind, name)
            neck: dict[str, Any] = dict(in_channels=features.shape[2], grid=grid)
            reasons = [
                f'{kind} says in {said} that they come from a grid of {grid} (T, H, W): they are folded to a map.'
            ]
            if features.shape[1] > math.prod(grid) and not _reads_grid(seen.model.cls_head, features):
                neck['class_token'] = 'add'
                reasons.append(_BY_TOKEN)
            return neck, _Notes(f'tokens {shape}', reasons)
        if features.dim() == 2 and options.pooled:
            return dict(in_channels=features.shape[1], grid=(1, 1, 1)), _Notes(
                f'pooled features {shape}', ['As asked for, they are taken as maps of one place and one time.']
            )
        raise UsageError(
            f'config {name}: {kind} returns {shape}: it has pooled time and space itself, and leaves nothing to '
            'specialize on. A neck on pooled features is possible with tools/attach.py --pooled (pooled=True)'
        )
    return _with_map(seen, kind) if kind in _WITH_MAP else _stage_of(seen, is_2d, sampling, kind, name)


def _with_map(seen: DryRun, kind: str) -> tuple[dict[str, Any], _Notes]:
    ((found, pooled),) = seen.features
    reason = (
        f'{_WITH_MAP[kind]}, with the same weights, hands on its tokens as a map, too, {_described(found)}; the mean '
        'of what the neck adds to the map is added to the pooled features.'
    )
    return dict(in_channels=found.shape[1], class_token='return'), _Notes(
        f'pooled features {_described(pooled)}', [reason]
    )


def _stage_of(seen: DryRun, is_2d: bool, sampling: Sampling, kind: str, name: str) -> tuple[dict[str, Any], _Notes]:
    """The stage that the neck works on: of those that the head reads the widest, and of these the last."""
    stages = list(seen.features)
    maps = [stage[0] if is_map_with_token(stage) else stage for stage in stages]
    usable = [i for i, entry in enumerate(maps) if isinstance(entry, Tensor) and entry.dim() == (4 if is_2d else 5)]
    reads = lambda i: seen.read[id(maps[i])]  # noqa: E731
    by_token = [i for i in usable if is_map_with_token(stages[i]) and not reads(i) and seen.read[id(stages[i][1])]]
    candidates = [i for i in usable if reads(i)] or by_token
    if not candidates:
        raise UsageError(
            f'config {name}: {kind} returns {_described(seen.features, is_2d)}, of which the head reads no map; DSTS '
            'needs one of shape (B, C, T, H, W)'
        )
    index = max(candidates, key=lambda i: (maps[i].shape[1], i))
    neck: dict[str, Any] = dict(in_channels=maps[index].shape[1], keep_stages=True)
    if index != len(stages) - 1:
        neck['in_index'] = index
    reasons = []
    if len(stages) > 1:
        reasons.append(f'The neck works on stage {index}, the widest that is read, and hands on all stages.')
    if index in by_token:
        neck['class_token'] = 'add'
        reasons.append(_BY_TOKEN)
    if is_2d:
        reasons.append(f'DSTSRecognizer2D makes clips of the {sampling.frames} frames of a view.')
    feature = f'{len(stages)} stages, {_described(stages, is_2d)}' if len(stages) > 1 else _described(stages, is_2d)
    return neck, _Notes(feature, reasons)


def _reads_grid(head: nn.Module, tokens: Tensor) -> bool:
    """Whether scores depend on tokens behind the first; for this the head has to see values."""
    with preserve_random_state():
        head = copy.deepcopy(head).to_empty(device='cpu')
        for parameter in head.parameters():
            nn.init.normal_(parameter)
        values = torch.randn(tokens.shape, requires_grad=True)
        (gradient,) = torch.autograd.grad(head(values).sum(), values)
    return bool(gradient[:, 1:].any())


def _grid(backbone: Any, tokens: int, kind: str, name: str) -> tuple[tuple[int, int, int], str]:
    """The grid of tokens, and the attribute of the backbone that says it."""
    for path in _GRIDS:
        value: Any = backbone
        for part in path.split('.'):
            value = getattr(value, part, None)
        if not isinstance(value, (list, tuple)) or not all(isinstance(size, int) for size in value):
            continue
        for length in (tokens, tokens - 1):
            space = math.prod(value[-2:])
            time = value[0] if len(value) == 3 else length // space
            if len(value) in (2, 3) and time and time * space == length:
                return (time, *value[-2:]), path
    raise UsageError(
        f'config {name}: {kind} returns {tokens} tokens, and says in none of {", ".join(_GRIDS)} from which grid they '
        'come. Give the neck grid=(T, H, W) by hand'
    )


def _check_works(before: DryRun, neck: dict, sampling: Sampling, name: str) -> None:
    """Run the model with what the neck hands on: the head takes it, and the neck has a say in the scores."""
    names = ('in_channels', 'in_index', 'keep_stages', 'class_token', 'grid')
    adapter = FeatureAdapter(**{key: neck[key] for key in names if key in neck})
    before.model.neck = NeckStandIn(adapter, getattr(before.model, 'neck', None))
    after = run(before.model, sampling, name)
    if before.scores and after.scores != before.scores:
        raise UsageError(
            f'config {name}: with a neck the scores are of shape {after.scores}, without {before.scores}: DSTS '
            'cannot be attached to this head'
        )


def _described(features: Any, is_2d: bool = False) -> str:
    """Shapes of tensors in tuples and lists, in words."""
    if isinstance(features, Tensor):
        return f'({", ".join(["frames" if is_2d else "B", *map(str, features.shape[1:])])})'
    described = ', '.join(_described(part, is_2d) for part in features)
    return f'a map with a class token, {described}' if is_map_with_token(features) else described


def _millions(number: int) -> str:
    return f'{number / 1e6:.1f}M' if number >= 1e6 else f'{number / 1e6:.2g}M'
