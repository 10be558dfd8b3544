"""One config of MMAction2's zoo with DSTS attached, at reduced size: same scores at the start, trains by UDL, tests."""

from __future__ import annotations

import tempfile
import uuid
from typing import Any, NamedTuple

import numpy as np
import torch
from mmaction.models.backbones import MViT, SwinTransformer3D
from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmdsts.attachment import Attachment, Options, decide
from mmdsts.attachment.config import changes
from mmdsts.attachment.dry_run import build
from mmdsts.attachment.sampling import Sampling
from mmdsts.engine.update_config import plain, type_name
from mmdsts.evaluation.samples import labelled, score_of

_BLOCKS = 4  # of transformers, one a stage where they have stages
_SIZES = dict(VisionTransformer=32, TimeSformer=32, C3D=112)
_SIZE = 64
_CLIPS = 4  # two batches of two


class Trial(NamedTuple):
    """What came of it.

    Attributes:
        difference: Largest difference between the scores of the original and of the attached model, with the same
            weights, before any training.
        losses: Of the iterations of UDL.
        scores: Of the test after them, ``(num_classes, )``.
    """

    difference: float
    losses: list[float]
    scores: Tensor


@DATASETS.register_module()
class NoiseClips(Dataset):
    """Clips of noise, for trials without data.

    Args:
        shape: Of the inputs of a video, as the pipeline packs them.
        num_classes: Number of classes.
        size: Number of videos. Defaults to 4.
    """

    def __init__(self, shape: tuple[int, ...], num_classes: int, size: int = _CLIPS) -> None:
        generator = torch.Generator().manual_seed(0)
        self.inputs = 128 + 50 * torch.randn((size, *shape), generator=generator)
        self.num_classes = num_classes
        self.metainfo: dict = {}

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> dict:
        return dict(inputs=self.inputs[index].clone(), data_samples=labelled(index % self.num_classes))


def try_attachment(cfg: Config, options: Options = Options()) -> tuple[Attachment, Trial]:
    """Attach DSTS to a config and try it at reduced size, with random weights on noise.

    Args:
        cfg: Config of a recognizer, at its own size. It is not changed.
        options: What is chosen by hand. Defaults to all defaults.

    Returns:
        The attachment at the config's own size, and what came of the trial.

    Raises:
        UsageError: DSTS cannot be attached.
    """
    attachment = decide(cfg, options)
    # Made before anything is reduced: the trial trains what the tool writes.
    changed = changes(cfg, attachment, udl=True)
    attached = Config(plain(cfg._cfg_dict))
    attached.merge_from_dict(changed)
    sampling = _reduce(attached, attachment.sampling)
    original = plain(attached.model)
    neck = original.pop('neck')
    if neck['type'] == 'NeckChain':
        original['neck'] = neck['necks'][-1]
    original['type'], original['backbone']['type'] = cfg.model.type, cfg.model.backbone.type
    original.pop('num_segments', None)
    shape = _shape(attached, attachment, sampling)
    model = revert_sync_batchnorm(build(_without_mixing(attached.model), 'attached'))
    difference = compare(revert_sync_batchnorm(build(original, 'original')), model, shape)
    model.init_weights = lambda: None  # nothing is downloaded
    with tempfile.TemporaryDirectory() as folder, DefaultScope.overwrite_default_scope('mmaction'):
        runner = Runner(model=model, work_dir=folder, **_run_settings(attached, shape))
        losses = _Losses()
        runner.register_hook(losses)
        runner.train()
        scores = _scores(model.eval(), shape)
    return attachment, Trial(difference, losses.values, scores)


def compare(original: nn.Module, attached: nn.Module, shape: tuple[int, ...]) -> float:
    """Give two models the weights of the first; largest difference of their scores of a clip."""
    missing = attached.load_state_dict(original.state_dict(), strict=False)
    if missing.unexpected_keys or any('neck' not in name for name in missing.missing_keys):
        raise ValueError(f'weights of the original do not fit the attached model: {missing}')
    return (_scores(original.eval(), shape) - _scores(attached.eval(), shape)).abs().max().item()


@torch.no_grad()
def _scores(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    clip = NoiseClips(shape, 2, size=1)[0]
    np.random.seed(0)  # TRN draws relations of frames
    sample = model.test_step(dict(inputs=[clip['inputs']], data_samples=[clip['data_samples']]))[0]
    return score_of(sample)


def _reduce(cfg: Config, sampling: Sampling) -> Sampling:
    """Make the model small in place; the sampling that goes with it."""
    model = plain(cfg.model)
    backbone = model['backbone']
    kind = type_name(backbone['type']).replace('WithMap', '')
    size = _SIZES.get(kind, _SIZE)
    if kind == 'VisionTransformer':
        backbone.update(depth=min(backbone.get('depth', 12), _BLOCKS), img_size=size)
    elif kind == 'TimeSformer':
        backbone.update(num_transformer_layers=min(backbone.get('num_transformer_layers', 12), _BLOCKS), img_size=size)
    elif kind == 'UniFormerV2':
        size = 2 * backbone.get('patch_size', 16)
        backbone['input_resolution'] = size
        if backbone.get('layers', 12) > _BLOCKS:
            backbone.update(layers=_BLOCKS, return_list=list(range(_BLOCKS)), n_layers=_BLOCKS)
    elif kind == 'UniFormer':
        backbone['depth'] = [1, 1, 1, 1]
    elif kind == 'MViT':
        backbone['spatial_size'] = size
        if isinstance(backbone.get('arch', 'base'), str):
            known = MViT.arch_zoo[backbone.get('arch', 'base')]
            backbone['arch'] = dict(known, num_layers=_BLOCKS, downscale_indices=[1, 2, 3])
    elif kind == 'SwinTransformer3D':
        if isinstance(backbone.get('arch'), str):
            backbone['arch'] = dict(SwinTransformer3D.arch_zoo[backbone['arch']], depths=[1, 1, 1, 1])
    elif backbone.get('depth') in (101, 152):
        backbone['depth'] = 50
    cfg.model = model
    return sampling._replace(size=(size, size))


def _shape(cfg: Config, attachment: Attachment, sampling: Sampling) -> tuple[int, ...]:
    channels = cfg.model.backbone.get('in_channels', 3)
    if type_name(cfg.model.backbone.type) == 'C3D' or not isinstance(channels, int):
        channels = 3
    if attachment.segments is not None:
        return (attachment.segments, channels, *sampling.size)
    return (1, channels, sampling.clip_len, *sampling.size)


def _without_mixing(model: Any) -> dict:
    """The model without mixing of samples in its preprocessor, which wants labels of another form."""
    model = plain(model)
    (model.get('data_preprocessor') or {}).pop('blending', None)
    return model


def _run_settings(cfg: Config, shape: tuple[int, ...]) -> dict[str, Any]:
    loader = dict(
        batch_size=_CLIPS // 2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='NoiseClips', shape=shape, num_classes=cfg.model.cls_head.num_classes),
    )
    # A config that only tests says nothing of an optimizer.
    wrapper = plain(cfg.get('optim_wrapper') or dict(type='UDLOptimWrapper', optimizer=dict(type='SGD', lr=0.001)))
    wrapper.pop('amp', None)  # float16 needs a GPU
    return dict(
        default_scope='mmaction',
        train_dataloader=loader,
        train_cfg=dict(type='UDLEpochBasedTrainLoop', max_epochs=1),
        optim_wrapper=wrapper,
        default_hooks=dict(checkpoint=None, logger=None, param_scheduler=None),
        randomness=dict(seed=0),
        log_level='ERROR',
        experiment_name=uuid.uuid4().hex,
        visualizer=dict(type='Visualizer', name=uuid.uuid4().hex, vis_backends=[]),
    )


class _Losses(Hook):
    """Keeps the loss of each iteration."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        self.values.append(float(outputs['loss']))
