"""Predictions as MMEngine's ``DumpResults`` writes them (``tools/test.py --dump``)."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mmdsts.errors import UsageError
from mmdsts.evaluation.accuracy import predicted_class
from mmdsts.evaluation.samples import label_of, score_of

# What samples consist of. A pickle can call anything; of these nothing does harm.
_ROOMS = ('torch', 'numpy', 'collections', 'builtins', '_codecs')
_NAMES = {
    '_rebuild_tensor_v2', '_rebuild_parameter', '_load_from_bytes', 'Tensor', 'Size', 'device', 'dtype', 'ndarray',
    '_reconstruct', 'scalar', '_frombuffer', 'OrderedDict', 'encode', 'slice', 'set', 'list', 'dict', 'tuple',
    'FloatStorage', 'DoubleStorage', 'HalfStorage', 'BFloat16Storage', 'LongStorage', 'IntStorage', 'ByteStorage',
    'BoolStorage', 'UntypedStorage',
}  # fmt: skip


class Predictions(NamedTuple):
    """Of a test.

    Attributes:
        scores: Shape ``(S, C)``.
        labels: Shape ``(S,)``.
        predicted: Shape ``(S,)``.
    """

    scores: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == 'torch.storage' and name == '_load_from_bytes':
            return _tensor_storage
        if module.split('.')[0] in _ROOMS and name in _NAMES and not (module == 'builtins' and name == 'eval'):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f'it holds {module}.{name}, which no predictions do')


def _tensor_storage(content: bytes) -> Any:
    """What tensors lie in; torch's own function would unpickle anything."""
    return torch.load(io.BytesIO(content), weights_only=True)


def read_predictions(path: str) -> Predictions:
    """Read a dump.

    Raises:
        UsageError: It is missing or no dump of single-label predictions.
    """
    if not Path(path).is_file():
        raise UsageError(
            f'predictions {path}: no such file; write it with tools/test.py CONFIG CHECKPOINT --dump {path}'
        )
    try:
        with open(path, 'rb') as file:
            samples = _Unpickler(file).load()
        scores = np.stack([np.asarray(score_of(sample), dtype=float) for sample in samples])
        labels = np.array([int(np.asarray(label_of(sample)).reshape(-1)[0]) for sample in samples])
        several = any(np.asarray(label_of(sample)).size != 1 for sample in samples)
    except Exception as error:  # of any file
        raise UsageError(
            f'predictions {path}: expected what tools/test.py --dump writes '
            f'({type(error).__name__}: {" ".join(str(error).split())})'
        ) from error
    if scores.ndim != 2 or several or not 0 <= labels.min() <= labels.max() < scores.shape[1]:
        raise UsageError(
            f'predictions {path}: scores of shape {scores.shape} and labels {labels.min()} to {labels.max()}; expected '
            'averaged scores (clips, classes) and one label a clip'
        )
    return Predictions(scores, labels, predicted_class(scores))
