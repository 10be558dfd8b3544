"""Features of a trained backbone, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import torch
from mmaction.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mmdsts.datasets.parts import never_replace
from mmdsts.engine.fit import load_exactly
from mmdsts.engine.random_state import preserve_random_state
from mmdsts.engine.update_config import plain
from mmdsts.errors import UsageError, one_line
from mmdsts.evaluation.samples import label_of
from mmdsts.models.feature import FeatureAdapter

from .configs import mistakes_named
from .features import FeatureSet
from .store import save_whole

SPLITS = ('train', 'val', 'test')

# Samples of one file while an extraction is under way.
_PART = 96


def extract_features(cfg: Config, checkpoint: str, split: str, **options: Any) -> FeatureSet:
    """What the neck of a recognizer receives for each sample of a data set, from the backbone of a checkpoint.

    Arguments and errors are those of :func:`feature_file`.
    """
    return load_features(feature_file(cfg, checkpoint, split, **options))


def load_features(path: str | os.PathLike) -> FeatureSet:
    """Read a file that :func:`feature_file` made."""
    return FeatureSet(**torch.load(path, weights_only=True))


def save_features(features: FeatureSet, path: str | os.PathLike) -> None:
    """Write a file that :func:`load_features` reads."""
    save_whole(features._asdict(), Path(path))


def feature_file(
    cfg: Config,
    checkpoint: str,
    split: str,
    *,
    augmented_passes: int = 0,
    seed: int = 0,
    cache_dir: str | os.PathLike = 'work_dirs/features',
    device: str = 'cpu',
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Run the backbone over a data set, once: the file of features is kept under a fingerprint of checkpoint,
    backbone, data and pipeline. An interrupted extraction goes on where it stopped.

    Args:
        cfg: Config of a recognizer; its neck and head play no part.
        checkpoint: File whose ``backbone.*`` entries are those of the config's backbone.
        split: ``'train'``, ``'val'`` or ``'test'``: the data set of which loader.
        augmented_passes: 0: each sample once, through the pipeline of ``val_dataloader`` (``test_dataloader`` where
            there is none). Otherwise so many passes through the split's own pipeline, one after the other, with
            noise that depends on seed, pass and sample alone. Defaults to 0.
        seed: Seed of the augmented passes. Defaults to 0.
        cache_dir: Folder to keep features in. Defaults to ``'work_dirs/features'``.
        device: Where the backbone runs. Defaults to ``'cpu'``.
        on_progress: Called with the samples done and their total number. Defaults to None.

    Returns:
        The file; ``groups`` in it are the sets of the classes where the data set's ``metainfo`` has ``class_sets``.

    Raises:
        ValueError: ``split`` is unknown or ``augmented_passes`` negative.
        UsageError: The config has no such loader, the checkpoint does not fit, the pipeline gives several views of
            a clip, or samples have several labels.
    """
    if split not in SPLITS:
        raise ValueError(f'split must be one of {SPLITS}, got {split!r}')
    if augmented_passes < 0:
        raise ValueError(f'augmented_passes must not be negative, got {augmented_passes}')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmaction'):
        dataset_cfg = _dataset_config(cfg, split, augmented_passes > 0)
        with mistakes_named(cfg):
            dataset = DATASETS.build(dataset_cfg)
        never_replace(dataset)  # a feature stands for the clip at its place, in augmented passes, too
        weights = backbone_weights(checkpoint)
        model = {name: value for name, value in cfg.model.to_dict().items() if name not in ('neck', 'cls_head')}
        key = fingerprint(model, describe_data(dataset_cfg, dataset), augmented_passes, seed, weights)
        folder = Path(cache_dir) / f'{split}-{key[:16]}'
        samples = _Samples(dataset, max(augmented_passes, 1), seed)
        if not (folder / 'features.pt').is_file():
            model = recognizer_with_receiver(cfg, weights, checkpoint).to(device)
            _extract(model, samples, cfg, folder, on_progress)
        elif on_progress is not None:
            on_progress(len(samples), len(samples))
    return folder / 'features.pt'


def describe_data(dataset_cfg: dict, dataset: Any) -> list:
    """What changes with everything that a data set gives, its video files included: paths, labels, sizes, dates, and
    of windows of a video start and end.
    """
    files = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        path = info.get('filename')
        status = os.stat(path) if path and os.path.exists(path) else None
        files.append(
            (
                str(path or info.get('frame_dir')),
                int(np.ravel(info['label'])[0]),
                status and (status.st_size, status.st_mtime_ns),
                *(info[key] for key in ('start', 'end') if key in info),
            )
        )
    return [dataset_cfg, dataset.metainfo.get('class_sets'), files]


def fingerprint(*contents: Any) -> str:
    """Hexadecimal digest of numbers, strings, containers of them and dicts of tensors."""
    digest = hashlib.sha256()
    for content in contents:
        if isinstance(content, dict) and any(isinstance(value, Tensor) for value in content.values()):
            for name, value in sorted(content.items()):
                digest.update(name.encode())
                digest.update(value.contiguous().cpu().numpy().tobytes())
        else:
            digest.update(json.dumps(content, sort_keys=True, default=str).encode())
    return digest.hexdigest()


class _Samples(Dataset):
    """Samples of a data set, pass after pass, each drawn with noise of its own."""

    def __init__(self, dataset: Any, passes: int, seed: int, first: int = 0) -> None:
        self.dataset = dataset
        self.passes = passes
        self.seed = seed
        self.first = first

    def __len__(self) -> int:
        return self.passes * len(self.dataset) - self.first

    def since(self, first: int) -> _Samples:
        """The samples from ``first`` on."""
        return _Samples(self.dataset, self.passes, self.seed, first)

    def __getitem__(self, index: int) -> dict:
        index += self.first
        # So that what a sample looks like depends neither on workers nor on where an earlier extraction stopped.
        state = np.random.SeedSequence([self.seed, index]).generate_state(3)
        random.seed(int(state[0]))
        np.random.seed(state[1])
        torch.manual_seed(int(state[2]))
        return self.dataset[index % len(self.dataset)]


class _Receiver(nn.Module):
    """Stands where the neck does and keeps the maps that it would work on."""

    def __init__(self, adapter: FeatureAdapter) -> None:
        super().__init__()
        self.adapter = adapter
        self.received: list[Tensor] = []

    def forward(self, x: Any, data_samples: list | None = None) -> tuple[Any, dict]:
        self.received.append(self.adapter.stage(x))
        return x, {}

    def take(self) -> Tensor:
        received, self.received = torch.cat(self.received), []
        return received


def _dataset_config(cfg: Config, split: str, augmented: bool) -> dict:
    loader = cfg.get(f'{split}_dataloader')
    tested = cfg.get('val_dataloader') or cfg.get('test_dataloader')
    if not loader or not (augmented or tested):
        raise UsageError(
            f'config {cfg.filename}: frozen features of {split!r} need {split}_dataloader'
            + ('' if augmented else ' and val_dataloader or test_dataloader for the pipeline')
        )
    dataset = _unwrapped(loader['dataset'])
    if not augmented:
        dataset.update(pipeline=_unwrapped(tested['dataset'])['pipeline'], test_mode=True)
    return dataset


def _unwrapped(dataset: Any) -> dict:
    """A copy of the one data set inside wrappers such as ``RepeatDataset``."""
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    if 'datasets' in dataset:
        raise UsageError(f'dataset {dataset["type"]!r} joins several data sets; frozen features take one')
    return plain(dataset)


def backbone_weights(checkpoint: str) -> dict[str, Tensor]:
    """Entries of the backbone in a checkpoint of a recognizer, by their names in the backbone.

    Raises:
        UsageError: There are none, or the file is no checkpoint.
    """
    try:
        content = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu', logger='silent')
    except (EOFError, OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise UsageError(f'checkpoint {checkpoint} cannot be read: {one_line(error)}') from error
    state = content.get('state_dict', content)
    weights = {name[len('backbone.') :]: value for name, value in state.items() if name.startswith('backbone.')}
    if not weights:
        raise UsageError(
            f'checkpoint {checkpoint} has no entries backbone.*; expected that of a recognizer, as '
            'tools/train.py writes it'
        )
    return weights


def recognizer_with_receiver(cfg: Config, weights: dict[str, Tensor], checkpoint: str) -> nn.Module:
    """The recognizer of a config with these weights in its backbone, in evaluation mode; its neck keeps what it gets.

    Raises:
        UsageError: The weights are not those of this backbone.
    """
    config = plain(cfg.model)
    neck = config.pop('neck', None) or {}
    with mistakes_named(cfg):
        model = MODELS.build(config)
    model.neck = _Receiver(FeatureAdapter(neck.get('in_channels'), neck.get('in_index', -1), grid=neck.get('grid')))
    load_exactly(model.backbone, weights, f'the backbone in checkpoint {checkpoint}')
    return model.eval()


@torch.no_grad()
def _extract(
    model: nn.Module, samples: _Samples, cfg: Config, folder: Path, on_progress: Callable[[int, int], None] | None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    total = len(samples)
    done = 0
    while (folder / _part_name(done)).is_file() and done < total:
        done += _PART
    done = min(done, total)
    loader = cfg.get('val_dataloader') or cfg.get('train_dataloader')
    with preserve_random_state():
        for features, labels in _parts(model, samples.since(done), loader.get('num_workers', 0)):
            save_whole(dict(features=features, labels=labels), folder / _part_name(done))
            done += len(labels)
            if on_progress is not None:
                on_progress(done, total)
    paths = [folder / _part_name(first) for first in range(0, total, _PART)]
    parts = [torch.load(path, weights_only=True) for path in paths]
    found = {name: torch.cat([part[name] for part in parts]) for name in ('features', 'labels')}
    sets = samples.dataset.metainfo.get('class_sets')
    found['groups'] = None if sets is None else torch.tensor(sets)[found['labels']]
    save_whole(found, folder / 'features.pt')
    for path in paths:
        path.unlink()


def _parts(model: nn.Module, samples: _Samples, num_workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Features and labels, ``_PART`` samples at a time, in batches that divide a part."""
    batches = DataLoader(samples, batch_size=_PART // 6, num_workers=num_workers, collate_fn=pseudo_collate)
    features, labels = [], []
    for batch in batches if len(samples) else ():
        for received, label in _features_of(model, batch):
            features.append(received)
            labels.append(label)
        if len(labels) == _PART:
            yield torch.stack(features), torch.stack(labels)
            features, labels = [], []
    if labels:
        yield torch.stack(features), torch.stack(labels)


def _features_of(model: nn.Module, batch: dict) -> Iterator[tuple[Tensor, Tensor]]:
    data = model.data_preprocessor(batch, False)
    model.extract_feat(data['inputs'], test_mode=True)
    received = model.neck.take().float().cpu()
    labels = [label_of(sample) for sample in data['data_samples']]
    if len(received) != len(labels):
        raise UsageError(
            f'the pipeline gives {len(received) // len(labels)} views of a clip; frozen features take '
            'one: set num_clips=1 of SampleFrames and one crop in the pipeline of val_dataloader'
        )
    if any(label.numel() != 1 for label in labels):
        raise UsageError('samples with several labels: frozen features take one class a clip')
    return zip(received, (label.reshape(()).cpu() for label in labels))


def _part_name(first: int) -> str:
    return f'part_{first:07d}.pt'
