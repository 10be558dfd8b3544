"""Graphs with a dynamic batch size: ``torch.export`` programs and ONNX files."""

from __future__ import annotations

from importlib.util import find_spec
from os import PathLike
from typing import Callable, Sequence

import torch
from mmengine.utils import digit_version
from torch import Tensor, nn

from .errors import ExportError
from .path import ScoringPath


def export_program(model: nn.Module, input_shape: Sequence[int]) -> torch.export.ExportedProgram:
    """``torch.export`` of a model, batch size dynamic.

    Args:
        model: A recognizer with a DSTS neck, or such a neck; see :class:`ScoringPath` for inputs and
            outputs. Deployed first if it is not.
        input_shape: Shape of one sample, without the batch axis.

    Returns:
        The program: ``program.module()(inputs)`` gives class scores (or the neck's output) and the active
        neurons.

    Raises:
        ExportError: If torch is older than 2.6, or a part of the model cannot be exported; it names the
            part.
    """
    _require_torch('torch.export')
    path = ScoringPath(model)
    return _export(path, _example(path, input_shape))


def export_onnx(model: nn.Module, path: str | PathLike, input_shape: Sequence[int]) -> None:
    """ONNX file of a model, batch size dynamic: input ``inputs``, outputs ``scores`` (or ``features``) and
    ``active``.

    Args:
        model: See :func:`export_program`.
        path: File to write.
        input_shape: Shape of one sample, without the batch axis.

    Raises:
        ExportError: If torch is older than 2.6, ``onnx`` or ``onnxscript`` is not installed, or a part of
            the model cannot be exported; it names the part.
    """
    _require_torch('ONNX')
    missing = [name for name in ('onnx', 'onnxscript') if find_spec(name) is None]
    if missing:
        raise ExportError(f'exporting to ONNX needs {" and ".join(missing)}: pip install {" ".join(missing)}')
    scoring = ScoringPath(model)
    program = _export(scoring, _example(scoring, input_shape))
    try:
        torch.onnx.export(
            program,
            (),
            str(path),
            input_names=['inputs'],
            output_names=[scoring.output_name, 'active'],
            dynamic_shapes=({0: 'batch'},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(f'torch.export can hold the model, ONNX cannot: {_first_lines(error)}') from error


def _require_torch(what: str) -> None:
    if digit_version(torch.__version__) < digit_version('2.6'):
        raise ExportError(
            f'exporting to {what} needs torch >= 2.6, found {torch.__version__}; deploying as a '
            'PyTorch checkpoint does not'
        )


def _example(path: ScoringPath, input_shape: Sequence[int]) -> Tensor:
    weight = next(path.model.parameters())
    # A batch of more than one, or the exporter takes the axis for a constant.
    return torch.rand(2, *input_shape, dtype=weight.dtype, device=weight.device)


def _export(path: ScoringPath, example: Tensor) -> torch.export.ExportedProgram:
    _run_once(path, example)
    batch = torch.export.Dim('batch', min=1)
    try:
        return torch.export.export(path, (example,), dynamic_shapes=({0: batch},), strict=False)
    except Exception as error:  # of whichever kind: it is passed on with the part that caused it
        raise ExportError(f'{_culprit(path, example)} cannot be exported: {_first_lines(error)}') from error


def _run_once(path: ScoringPath, example: Tensor) -> None:
    try:
        with torch.no_grad():
            path(example)
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        raise ExportError(
            f'the model does not run on inputs of shape {tuple(example.shape)} (batch axis first), so '
            f'input_shape={tuple(example.shape[1:])} seems wrong for it; it is the shape that the '
            f'test pipeline packs: {_first_lines(error)}'
        ) from error


def _culprit(path: ScoringPath, example: Tensor) -> str:
    """The first of backbone, neck and head that fails on its own."""
    if not path.is_recognizer:
        return 'the neck'
    inputs: dict[str, tuple[tuple, dict]] = {}
    stages = {name: getattr(path.model, name) for name in ('backbone', 'neck', 'cls_head')}

    def remember(name: str) -> Callable[[nn.Module, tuple, dict], None]:
        return lambda module, args, kwargs: inputs.update({name: (args, kwargs)})

    hooks = [stage.register_forward_pre_hook(remember(name), with_kwargs=True) for name, stage in stages.items()]
    with torch.no_grad():
        path(example)
    for hook in hooks:
        hook.remove()
    for name, stage in stages.items():
        try:
            torch.export.export(stage, *inputs[name], strict=False)
        except Exception:  # whichever kind: the question is only which part fails
            return f'{name} {type(stage).__name__}'
    return f'{type(path.model).__name__} with a dynamic batch size'


def _first_lines(error: Exception, count: int = 3) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f'{type(error).__name__}: ' + ' '.join(lines[:count])
