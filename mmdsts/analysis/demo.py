"""What a trained recognizer says about one video, and through which neurons (``tools/demo.py``)."""

from __future__ import annotations

import copy
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmaction.apis import inference_recognizer, init_recognizer
from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmdsts.datasets.diving48 import read_vocabulary
from mmdsts.datasets.finegym import read_categories
from mmdsts.datasets.text import read_lines
from mmdsts.datasets.video import check_video, describe_error
from mmdsts.engine.fit import load_exactly
from mmdsts.errors import CONFIG_MISTAKES, UsageError, one_line
from mmdsts.evaluation.samples import score_of
from mmdsts.models.record import last_active_neurons, routing_records


class Prediction(NamedTuple):
    """What the model says about a video.

    Attributes:
        labels: The best classes, best first.
        scores: Their probabilities, averaged over the views.
        names: Their names.
        active: Active neuron of each layer and view, long, shape ``(L, V)``, the layers of several necks one after
            another; ``None`` without a DSTS neck.
        num_neurons: Neurons of a layer, the most of them; 0 without a DSTS neck.
    """

    labels: list
    scores: list
    names: list
    active: Tensor | None
    num_neurons: int


def load_recognizer(cfg: Config, checkpoint: str, device: str = 'cpu') -> nn.Module:
    """Build the recognizer of a config with the weights of a checkpoint, ready for :func:`recognize`.

    Args:
        cfg: Config of a recognizer with a softmax head.
        checkpoint: File or address. Its weights must be exactly those of the model: with fewer, the answer
            would be that of random weights.
        device: Where to run. Defaults to ``'cpu'``.

    Returns:
        The model, with the ``dataset_meta`` that the checkpoint carries (``{}`` if none).

    Raises:
        UsageError: The model cannot be built, or the checkpoint does not fit it, or is none.
    """
    cfg = copy.deepcopy(cfg)
    # So that scores are probabilities, one for each class, whatever the head averages in testing.
    cfg.model.cls_head.average_clips = 'prob'
    try:
        model = init_recognizer(cfg, device=device)
    except CONFIG_MISTAKES as error:
        raise UsageError(f'config {cfg.filename}: {one_line(error)}') from error
    content = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    load_exactly(model, content, f'checkpoint {checkpoint}')
    model.dataset_meta = content.get('meta', {}).get('dataset_meta') or {}
    return model


def class_names(model: nn.Module, label_file: str | None = None) -> list[str]:
    """Names of the classes: from ``label_file``, else the checkpoint, else the config's dataset, else
    numbers.

    Args:
        model: From :func:`load_recognizer`.
        label_file: One name a line, FineGym's categories, or Diving48's vocabulary (``.json``). Defaults to
            None.

    Raises:
        UsageError: The file is missing or has not one name for each class.
    """
    num_classes = model.cls_head.num_classes
    if label_file is not None:
        names = _read_names(label_file)
        if len(names) != num_classes:
            raise UsageError(f'{label_file} has {len(names)} names, but the model has {num_classes} classes')
        return names
    for names in (model.dataset_meta.get('classes'), _names_of_dataset(model.cfg)):
        if names and len(names) == num_classes:
            return list(names)
    return [f'class {label}' for label in range(num_classes)]


def recognize(model: nn.Module, video: str, names: list[str], topk: int = 5) -> Prediction:
    """Run a recognizer on a video, through the test pipeline of its config.

    Args:
        model: From :func:`load_recognizer`.
        video: A video file.
        names: A name for each class.
        topk: How many classes to return, at most. Defaults to 5.

    Returns:
        The best classes and the neurons that were active.

    Raises:
        UsageError: The file is missing or cannot be read as a video.
    """
    check_video(video)
    transforms = Compose(model.cfg.test_dataloader.dataset.pipeline)

    def pipeline(data: dict) -> dict:
        try:
            return transforms(data)
        except Exception as error:  # decord's errors are plain exceptions
            raise UsageError(f'video {video}: the test pipeline fails on it: {describe_error(video, error)}') from error

    result = inference_recognizer(model, video, pipeline)
    scores = score_of(result)
    best = scores.flatten().topk(min(topk, scores.numel()))
    labels = best.indices.tolist()
    active = last_active_neurons(model)
    return Prediction(
        labels,
        best.values.tolist(),
        [names[label] for label in labels],
        torch.stack(active).cpu() if active else None,
        max((neck.num_neurons for neck in routing_records(model)), default=0),
    )


def describe(prediction: Prediction) -> str:
    """The prediction as text: a line for each class, then one for each layer."""
    lines = [
        f'{score:6.1%}  {label:4d}  {name}'
        for label, score, name in zip(prediction.labels, prediction.scores, prediction.names)
    ]
    if prediction.active is None:
        lines.append('The model has no DSTS neck.')
    else:
        lines += [f'layer {layer}: {describe_layer(active)}' for layer, active in enumerate(prediction.active.tolist())]
    return '\n'.join(lines)


def describe_layer(active: list[int]) -> str:
    """In words: which neurons the views of a video activated, the most frequent first."""
    counts = Counter(active).most_common()
    if len(counts) == 1:
        views = '' if len(active) == 1 else f' in all {len(active)} views'
        return f'neuron {counts[0][0]}{views}'
    return ', '.join(f'neuron {neuron} in {count} of {len(active)} views' for neuron, count in counts)


def _read_names(path: str) -> list[str]:
    if not Path(path).is_file():
        raise UsageError(f'{path}: no such file (the working directory is {os.getcwd()})')
    try:
        if path.endswith('.json'):
            return read_vocabulary(path)
        lines = read_lines(path)
        return read_categories(path).classes if lines and lines[0].startswith('Clabel:') else lines
    except ValueError as error:
        raise UsageError(str(error)) from error


def _names_of_dataset(cfg: Config) -> Any:
    """Class names of the dataset that the config tests on, if their file is there."""
    try:
        return DATASETS.build(dict(cfg.test_dataloader.dataset, lazy_init=True)).metainfo.get('classes')
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UsageError(f'config {cfg.filename}, test_dataloader: {error}') from error
