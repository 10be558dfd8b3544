"""Whether a deployed file answers as the model it came from."""

from __future__ import annotations

from os import PathLike
from typing import NamedTuple

import torch
from mmaction.models.recognizers import BaseRecognizer
from mmaction.structures import ActionDataSample
from torch import Tensor

from mmdsts.evaluation.samples import score_of
from mmdsts.models.record import last_active_neurons

from .checkpoint import load_deployed

FORMATS = ('pytorch', 'onnx', 'export')


class Answer(NamedTuple):
    """What a recognizer says about a batch.

    Attributes:
        scores: Class scores, shape ``(B, num_classes)``.
        active: Active neurons, long, shape ``(L, clips)``.
    """

    scores: Tensor
    active: Tensor


class Comparison(NamedTuple):
    """Two answers side by side.

    Attributes:
        difference: Largest absolute difference of a class score.
        disagreeing: Number of active neurons that differ.
        decisions: Number of active neurons compared.
    """

    difference: float
    disagreeing: int
    decisions: int


@torch.no_grad()
def answer(model: BaseRecognizer, inputs: Tensor) -> Answer:
    """Ask a recognizer in the usual way, by its ``test_step``.

    Args:
        model: Recognizer with a DSTS neck, deployed or not.
        inputs: What the test pipeline packs, with a batch axis.
    """
    samples = [ActionDataSample() for _ in inputs]
    predictions = model.eval().test_step(dict(inputs=list(inputs), data_samples=samples))
    return Answer(torch.stack([score_of(sample) for sample in predictions]), torch.stack(last_active_neurons(model)))


def answer_of_file(path: str | PathLike, form: str, inputs: Tensor) -> Answer:
    """Ask a deployed file.

    Args:
        path: What ``tools/deploy.py`` wrote.
        form: ``'pytorch'``, ``'onnx'`` (run by ONNX Runtime on the CPU) or ``'export'``.
        inputs: As in :func:`answer`.

    Raises:
        ModuleNotFoundError: If ``form`` is ``'onnx'`` and ``onnxruntime`` is not installed.
        ValueError: If ``form`` is none of the three.
    """
    if form == 'pytorch':
        return answer(load_deployed(path), inputs)
    if form == 'export':
        return Answer(*torch.export.load(path).module()(inputs.float()))
    if form != 'onnx':
        raise ValueError(f'form must be one of {FORMATS}, got {form!r}')
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    outputs = session.run(['scores', 'active'], {'inputs': inputs.float().numpy()})
    return Answer(*map(torch.from_numpy, outputs))


def compare(expected: Answer, found: Answer) -> Comparison:
    """Compare two answers about the same batch."""
    return Comparison(
        difference=(expected.scores - found.scores).abs().max().item(),
        disagreeing=int((expected.active != found.active).sum()),
        decisions=expected.active.numel(),
    )
