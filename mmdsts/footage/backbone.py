"""A backbone of the user's choice: found by name, and run once to see its channels and its memory."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.utils import get_installed_path
from torch import Tensor, nn

import mmdsts
from mmdsts.attachment import Options, decide
from mmdsts.attachment.dry_run import tensors_of
from mmdsts.errors import UsageError, one_line
from mmdsts.evaluation.samples import labelled
from mmdsts.models.building import quietly, without_weights

#: With these names: what is trained between backbone and head, and how, as in tools/ablate.py.
METHODS = ('backbone', 'dsts', 'dsts+udl')

_OPENMMLAB = 'https://download.openmmlab.com/mmaction/v1.0/recognition/'
#: OpenMMLab's weights for models of ours, as in configs/dsts_finegym_noudl.py and configs/dsts_tsm_finegym.py.
PRETRAINED = dict(
    slowonly_r50=_OPENMMLAB + 'slowonly/slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb/'
    'slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb_20220901-2132fc87.pth',
    tsm_r50=_OPENMMLAB + 'tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb/'
    'tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb_20220831-64d69186.pth',
)


class Backbone(NamedTuple):
    """A model file.

    Attributes:
        name: What it is called.
        base: What a config of another folder writes into ``_base_`` for it.
        model: Its ``model``.
        is_small: Whether it is ours for small pictures, trained from scratch.
    """

    name: str
    base: str
    model: dict
    is_small: bool

    @property
    def is_2d(self) -> bool:
        """Whether it takes frames, not clips."""
        return self.format_shape == 'NCHW'

    @property
    def format_shape(self) -> str:
        """Order of the axes of a clip; where the file is silent, what ``ActionDataPreprocessor`` takes."""
        return self.model['data_preprocessor'].get('format_shape', 'NCHW')


class DryRun(NamedTuple):
    """What a forward pass in training showed.

    Attributes:
        model: What to write into the config over the model of the base.
        feature: Shape of a clip's feature, without the batch.
        parameters: Number of parameters.
        clip_bytes: What is kept of a clip for the backward pass.
    """

    model: dict
    feature: tuple
    parameters: int
    clip_bytes: int


def our_configs() -> Path:
    """The folder ``configs``: of the clone, or of the installed package."""
    return (Path(mmdsts.__file__).parent / '.mim' / 'configs').resolve()


def backbone_names() -> list[str]:
    """Names that :func:`find_backbone` knows."""
    folders = (our_configs(), Path(get_installed_path('mmaction'), '.mim', 'configs'))
    return sorted({path.stem for folder in folders for path in (folder / '_base_' / 'models').glob('*.py')})


def find_backbone(name: str) -> Backbone:
    """Find a model file by its name in ``configs/_base_/models`` of ours or of MMAction2, or by its path.

    Raises:
        UsageError: There is none, or it is no recognizer of RGB frames that a neck can be put into.
    """
    theirs = Path(get_installed_path('mmaction'), '.mim', 'configs')
    ours = our_configs() / '_base_' / 'models' / f'{name}.py'
    if ours.is_file():
        path, base = ours, str(ours)
    elif (theirs / '_base_' / 'models' / f'{name}.py').is_file():
        path, base = theirs / '_base_' / 'models' / f'{name}.py', f'mmaction::_base_/models/{name}.py'
    elif name.startswith('mmaction::') and (theirs / name.partition('::')[2]).is_file():
        path, base = theirs / name.partition('::')[2], name
    elif Path(name).is_file():
        path, base = Path(name).resolve(), str(Path(name).resolve())
    else:
        raise UsageError(f'--backbone {name}: no such file, and none of {", ".join(backbone_names())}')
    try:
        cfg = Config.fromfile(str(path))
    except Exception as error:  # a config is Python code: anything can come out of it
        raise UsageError(f'--backbone {name}: {type(error).__name__}: {error}') from error
    model = cfg.get('model')
    if not model or 'train_dataloader' in cfg:
        raise UsageError(
            f'--backbone {name}: expected a file with a model alone, such as mmaction::_base_/models/i3d_r50.py'
        )
    kind = str(model.get('type'))
    if not kind.endswith(('Recognizer2D', 'Recognizer3D')) or 'data_preprocessor' not in model:
        raise UsageError(f'--backbone {name}: its model is a {kind}, expected a Recognizer2D or Recognizer3D of frames')
    if 'neck' in model:
        raise UsageError(f'--backbone {name}: it has a neck of its own, {model.neck.get("type")}, where DSTS would go')
    return Backbone(path.stem, base, model.to_dict(), path == ours and path.stem == 'slowonly_tiny')


def dry_run(
    backbone: Backbone, method: str, num_classes: int, clip_len: int, size: tuple[int, int], clips: int = 1
) -> DryRun:
    """Run a model on a made-up batch, in training mode and without weights from elsewhere.

    Args:
        backbone: The model.
        method: Of :data:`METHODS`.
        num_classes: Number of classes.
        clip_len: Frames of a clip.
        size: Width and height of the frames.
        clips: Size of the batch. Defaults to 1.

    Raises:
        UsageError: The model does not take such clips, or its feature is none that a neck can work on.
    """
    changes: dict[str, Any] = dict(cls_head=dict(num_classes=num_classes))
    if backbone.is_2d:
        for part in ('backbone', 'cls_head'):
            if _takes_segments(backbone.model[part]):
                changes.setdefault(part, {}).update(num_segments=clip_len)
    shape = (clip_len, 3, *size[::-1]) if backbone.is_2d else (1, 3, clip_len, *size[::-1])
    inputs = torch.randint(256, (clips, *shape), dtype=torch.uint8)
    samples = [labelled(i % num_classes) for i in range(clips)]
    with DefaultScope.overwrite_default_scope('mmaction'), quietly():
        try:
            model = _built(backbone.model, changes)
            with torch.no_grad():
                data = model.data_preprocessor(dict(inputs=list(inputs), data_samples=samples), training=True)
                feature = model.backbone(data['inputs'].flatten(0, 1))
            if method != 'backbone':
                changes = _merged(changes, _attachment(backbone, changes, clip_len, size))
                model = _built(backbone.model, changes)
            kept = _kept_bytes(model, data)
        except ImportError as error:  # mmpretrain, or an operator of the full mmcv
            raise UsageError(f'--backbone {backbone.name}: {one_line(error)}') from error
        except Exception as error:  # of any layer
            raise UsageError(
                f'--backbone {backbone.name} does not take clips of {clip_len} frames of {size[0]} x {size[1]} pixels: '
                f'{one_line(error)}. --clip-len and --size say what it takes'
                + (', --method backbone leaves out the neck' if method != 'backbone' else '')
            ) from error
    return DryRun(changes, _shape(feature), sum(p.numel() for p in model.parameters()), kept // clips)


def _attachment(backbone: Backbone, changes: dict, clip_len: int, size: tuple[int, int]) -> dict:
    """What puts a neck into the model, as tools/attach.py finds it."""
    sample = dict(clip_len=1, num_clips=clip_len) if backbone.is_2d else dict(clip_len=clip_len, num_clips=1)
    pipeline = [dict(type='SampleFrames', **sample), dict(type='Resize', scale=size, keep_ratio=False)]
    cfg = Config(dict(model=_merged(backbone.model, changes), train_dataloader=dict(dataset=dict(pipeline=pipeline))))
    # Of a network for small pictures the neck may be the larger part.
    options = Options(num_layers=2, num_neurons=6, max_share=0.6) if backbone.is_small else Options()
    return decide(cfg, options, backbone.name).model


def _takes_segments(part: dict) -> bool:
    """Whether a backbone or head has to know the number of frames, maybe by a default that its config leaves as is."""
    kind = part.get('type')
    with DefaultScope.overwrite_default_scope('mmaction'):
        kind = MODELS.get(kind) if isinstance(kind, str) else kind
    return 'num_segments' in part or (kind is not None and 'num_segments' in inspect.signature(kind).parameters)


def _built(model: dict, changes: dict) -> nn.Module:
    return MODELS.build(without_weights(_merged(model, changes))).train()


def _merged(model: dict, changes: dict) -> dict:
    """As a config that inherits from a model would have it."""
    cfg = Config(dict(model=model))
    cfg.merge_from_dict(dict(model=changes))
    return cfg.model.to_dict()


def _shape(feature: Any) -> tuple:
    """Shape of a clip's feature; of several stages and tokens that of the widest, and of such the largest."""
    return tuple(max(tensors_of(feature), key=lambda part: (part.shape[1], part.numel())).shape[1:])


def _kept_bytes(model: nn.Module, data: dict) -> int:
    """Bytes of the tensors that autograd keeps of a training step, parameters left out, each storage once."""
    known = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    if not torch.isfinite(total):
        raise ValueError(f'the loss is {float(total)}')
    return sum(kept.values())


def memory_here() -> int:
    """Bytes to train in: of the first GPU, else half of the memory that this process may have."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory
    found = [8 << 30]
    if hasattr(os, 'sysconf') and 'SC_PHYS_PAGES' in os.sysconf_names:
        found = [os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')]
    limit = Path('/sys/fs/cgroup/memory.max')
    if limit.is_file() and limit.read_text().strip().isdecimal():
        found.append(int(limit.read_text()))
    return min(found) // 2


def batch_size(run: DryRun, memory: int, num_clips: int, udl: bool = False, most: int = 32) -> int:
    """Clips of a training step: a power of two that fits into the memory, with at least 8 steps an epoch.

    Args:
        run: Of :func:`dry_run`.
        memory: Bytes.
        num_clips: Clips of the training list.
        udl: Whether UDL trains, which keeps a second batch. Defaults to False.
        most: Never more. Defaults to 32.
    """
    # Weights, gradients and Adam's two moments; half as much again for what operators take on the way.
    room = 0.8 * memory - 16 * run.parameters
    fitting = int(room / (1.5 * run.clip_bytes * (2 if udl else 1)))
    wanted = max(min(fitting, most, max(num_clips // 8, 2)), 1)
    return 1 << (wanted.bit_length() - 1)
