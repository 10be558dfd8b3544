"""The start of a run: what is wrong with its config or its data is said in one line, before or at the first step."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Any, Iterator

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch.nn import Module
from torch.utils.data import DataLoader

from mmdsts.datasets.parts import parts
from mmdsts.errors import CONFIG_MISTAKES, UsageError, one_line


class _FirstStep(Hook):
    """Notes that one step has been done."""

    done = False

    def _after_iter(self, *args, **kwargs) -> None:
        self.done = True


@contextlib.contextmanager
def explained_start(runner: Runner, stage: str) -> Iterator[None]:
    """Around ``runner.train()`` or ``runner.test()``: errors until the first step is done become usage errors.

    First the data are compared with the model (:func:`check_loaders`). ``MMDSTS_TRACEBACK=1`` in the environment leaves
    errors as they are.

    Args:
        runner (Runner): Built, not started.
        stage (str): ``'train'`` or ``'test'``.

    Raises:
        UsageError: In place of an error that the config or the data caused; the cause is chained.
    """
    first_step = _FirstStep()
    runner.register_hook(first_step)
    try:
        check_loaders(runner, stage)
        yield
    except UsageError:
        raise
    except (*CONFIG_MISTAKES, RuntimeError) as error:
        module = failing_module(error, runner.model)
        # Shapes that do not fit are a plain RuntimeError of a module. Memory that runs out has a class of its own, and
        # that a data worker was killed is said wherever the program is at the moment.
        of_module = type(error) is RuntimeError and module is not None and 'DataLoader worker' not in str(error)
        is_mistake = isinstance(error, CONFIG_MISTAKES) or of_module
        if first_step.done or not is_mistake or os.environ.get('MMDSTS_TRACEBACK') == '1':
            raise
        raise UsageError(f'config {runner.cfg.filename}: {module or ""}{one_line(error)}') from error


def check_loaders(runner: Runner, stage: str) -> None:
    """Check that the loaders of a stage give batches, and labels that the model has.

    Args:
        runner (Runner): Its loops are built by this.
        stage (str): ``'train'``, which validates as well, or ``'test'``.

    Raises:
        UsageError: naming the loader and the setting to change.
    """
    loops = (
        {'train_dataloader': runner.train_loop, 'val_dataloader': runner.val_loop}
        if stage == 'train'
        else {'test_dataloader': runner.test_loop}
    )
    loaders = {name: getattr(loop, 'dataloader', None) for name, loop in loops.items()}
    heldout = getattr(loops.get('train_dataloader'), 'heldout_dataloader', None)
    loaders['train_cfg.heldout_dataloader'] = heldout
    for name, loader in loaders.items():
        if isinstance(loader, DataLoader):
            _check_length(loader, name)
            _check_labels(loader.dataset, name, runner.model)


def failing_module(error: BaseException, model: Module) -> str | None:
    """The innermost module of a model whose forward pass an error comes from, as the start of a message."""
    names = {id(module): name for name, module in model.named_modules() if name}
    found, traceback = None, error.__traceback__
    while traceback is not None:
        frame, traceback = traceback.tb_frame, traceback.tb_next
        if frame.f_code.co_name == 'forward':
            module = frame.f_locals.get('self')
            found = module if id(module) in names else found
    if found is None:
        return None
    text = f' ({found})' if not list(found.children()) else ''
    return f'model.{names[id(found)]}{text} fails on what it is given: '


def _check_length(loader: DataLoader, name: str) -> None:
    if len(loader) == 0:
        raise UsageError(
            f'{name} gives no batch: its data set has {len(loader.dataset)} clips, batch_size is {loader.batch_size}'
            + (' and drop_last is set. Lower batch_size' if loader.drop_last else '. Give it clips')
        )


def _check_labels(dataset: Any, name: str, model: Module) -> None:
    model = model.module if is_model_wrapper(model) else model
    num_classes = getattr(getattr(model, 'cls_head', None), 'num_classes', None)
    if num_classes is None:
        return
    for part in parts(dataset):
        labels = [part.get_data_info(i).get('label') for i in range(len(part))]
        labels = [label for label in labels if isinstance(label, int)]
        classes = part.metainfo.get('classes')
        where = f'{name} ({type(part).__name__} {part.ann_file})'
        if labels and min(labels) < 0 and name != 'test_dataloader':
            raise UsageError(
                f'{where} has the label {min(labels)}, expected 0 to {num_classes - 1}; does its list '
                'give each clip a label?'
            )
        if labels and max(labels) >= num_classes:
            raise UsageError(
                f'{where} has labels up to {max(labels)}, but model.cls_head.num_classes is '
                f'{num_classes}; set it to {len(classes) if classes else max(labels) + 1}'
            )
        if classes and len(classes) != num_classes:
            print_log(
                f'{where} has {len(classes)} classes, but model.cls_head.num_classes is {num_classes}',
                logger='current',
                level=logging.WARNING,
            )
