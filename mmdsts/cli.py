"""What ``tools/train.py`` and ``tools/test.py`` share: options, config, checks before a run and its end."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.hooks import CheckpointHook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader

from mmdsts.engine.checkpoint_files import CheckpointError, read_checkpoint
from mmdsts.engine.failures import explain
from mmdsts.engine.fit import load_exactly
from mmdsts.engine.hooks.stop_hook import save_after_failure
from mmdsts.errors import CONFIG_MISTAKES, ClipError, UsageError, one_line
from mmdsts.variables import change_variables


class CfgOptions(DictAction):
    """``--cfg-options KEY=VALUE ...``; a part without ``=`` is a usage error, not a traceback."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Check the parts, then let MMEngine read them."""
        for value in values:
            if '=' not in value:
                parser.error(
                    f'argument {option_string}: {value!r} is not of the form KEY=VALUE, '
                    'as in model.neck.num_neurons=4 (no spaces inside a value)'
                )
        super().__call__(parser, namespace, values, option_string)

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        text = val.strip('\'" ')
        # MMEngine takes spaces out, of lists as of paths: a folder named "my videos" was not found.
        if ' ' in text and ',' not in text and text[0] + text[-1] not in ('()', '[]'):
            return text
        return DictAction._parse_iterable(val)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share, under the names MMAction2 gives them."""
    parser.add_argument(
        '--work-dir',
        help='folder for logs, checkpoints and metrics; default: that of the '
        'config, else work_dirs/<name of the config>',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=CfgOptions,
        metavar='KEY=VALUE',
        help='change the config, e.g. model.neck.num_neurons=4 or key="[(a,b),(c,d)]"',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of a distributed run were started',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


@contextlib.contextmanager
def about(option: str, value: object) -> Iterator[None]:
    """Usage errors inside are about the value of an option and name it first; without a value they stay as they are."""
    try:
        yield
    except UsageError as error:
        if value is None:
            raise
        raise UsageError(f'{option} {error}') from error


def load_config(path: str) -> Config:
    """Read a config file.

    Raises:
        UsageError: if it is missing, or cannot be read.
    """
    if not Path(path).is_file():
        raise UsageError(f'config {path}: no such file (the working directory is {Path.cwd()})')
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is Python code: anything can come out of it
        raise UsageError(f'config {path}: {type(error).__name__}: {" ".join(str(error).split())}') from error


def apply_common_options(cfg: Config, args: argparse.Namespace) -> None:
    """Write the shared options into ``cfg``; only ``--work-dir`` comes after ``--cfg-options``.

    Raises:
        UsageError: if an entry of ``--cfg-options`` does not fit the config.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg.launcher = args.launcher
    merge_options(cfg, args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(args.config).stem)


def merge_options(cfg: Config, options: dict | None) -> None:
    """Write ``--cfg-options`` into a config, also into what was made from a variable of its file (``data_root``).

    Raises:
        UsageError: if an entry does not fit the config, or would change nothing.
    """
    if not options:
        return
    change_variables(cfg, options)
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        raise UsageError(f'--cfg-options {options}: {error}') from error


def datasets_of(dataset: ConfigDict, name: str) -> Iterator[tuple[str, ConfigDict]]:
    """Yield the datasets inside wrappers such as ``RepeatDataset`` and ``ConcatDataset``, each with its name."""
    inner = [(f'{name}.datasets.{i}', part) for i, part in enumerate(dataset.get('datasets') or [])]
    if 'dataset' in dataset:
        inner.append((f'{name}.dataset', dataset['dataset']))
    if not inner:
        yield name, dataset
    for part_name, part in inner:
        yield from datasets_of(part, part_name)


def check_data(cfg: Config, stages: Sequence[str]) -> None:
    """Check that the annotation files and video folders exist, before a model is built.

    Args:
        cfg (Config): the whole config.
        stages (Sequence[str]): of ``'train'``, ``'val'``, ``'test'``; those without a loader are passed over.

    Raises:
        UsageError: naming the missing file and what makes it.
    """
    loaders = {f'{stage}_dataloader': cfg.get(f'{stage}_dataloader') for stage in stages}
    if 'train' in stages:
        loaders['train_cfg.heldout_dataloader'] = (cfg.get('train_cfg') or {}).get('heldout_dataloader')
    for loader_name, loader in loaders.items():
        for name, dataset in datasets_of(loader['dataset'], f'{loader_name}.dataset') if loader else ():
            wanted = {'ann_file': dataset.get('ann_file')}
            wanted.update((f'data_prefix.{key}', path) for key, path in (dataset.get('data_prefix') or {}).items())
            for key, path in wanted.items():
                path = path and os.path.join(dataset.get('data_root') or '', path)
                if path and '://' not in path and not os.path.exists(path):
                    advice = _how_to_get(path, cfg, f'{name}.{key}')
                    raise UsageError(f'{name}.{key}: {path} does not exist. {advice}')


def _how_to_get(path: str, cfg: Config, name: str) -> str:
    """Say how missing data comes into being."""
    parts = Path(path).parts
    toygym = [i for i, part in enumerate(parts) if 'toygym' in part]
    if toygym:
        # Beside the tool that runs, or beside the folder that it is in.
        tools = [folder / 'data' / 'make_toygym.py' for folder in Path(sys.argv[0]).parents]
        tool = next((path for path in tools if path.is_file()), 'tools/data/make_toygym.py')
        return f'Make it with: python {tool} --out {Path(*parts[: toygym[0] + 1])}'
    root = cfg.get('data_root')
    option = 'data_root=FOLDER' if isinstance(root, str) and path.startswith(root) else f'{name}=PATH'
    return f'Get the data set as its config describes, or say where it is: --cfg-options {option}'


def check_checkpoint(path: str, option: str) -> None:
    """Check that a checkpoint given as a local path exists and can be read, before anything slow is done.

    Raises:
        UsageError: if it does not, is cut short, damaged, or no checkpoint.
    """
    if '://' in path:
        return
    if not Path(path).is_file():
        raise UsageError(f'{option} {path}: no such file (the working directory is {Path.cwd()})')
    try:
        read_checkpoint(path)
    except CheckpointError as error:
        raise UsageError(f'{option} {error}') from error


def check_work_dir(path: str, name: str = 'work dir', option: str = '--work-dir') -> None:
    """Check that files can be written to the work dir, or another folder, which is made if needed.

    Args:
        path (str): The folder.
        name (str): What it is. Defaults to ``'work dir'``.
        option (str): By which another one is given. Defaults to ``'--work-dir'``.

    Raises:
        UsageError: if not.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UsageError(
            f'{name} {path}: cannot be written to ({error.strerror}). Give another one with {option}'
        ) from error


def device(text: str) -> str:
    """Argument type: a device that torch can use here."""
    try:
        torch.empty(0, device=text)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise argparse.ArgumentTypeError(f'{text!r} cannot be used: {one_line(error)}') from error
    return text


def check_writable(path: str, option: str) -> None:
    """Check that a file can be written, before what goes into it is computed; its folder is made if needed.

    Raises:
        UsageError: if not.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, 'a'):
            pass
    except OSError as error:
        raise UsageError(f'{option} {path}: cannot be written ({error.strerror})') from error


def use_durable_hooks(cfg: Config) -> None:
    """Save checkpoints by our hook where the config names MMEngine's or none, and listen to signals."""
    if not cfg.get('default_hooks'):  # setdefault would put a plain dict there, and MMEngine takes None, too
        cfg.default_hooks = {}
    hooks = cfg.default_hooks
    hooks.setdefault('checkpoint', dict(type='CheckpointHook', interval=1))
    kind = hooks.checkpoint.get('type') if hooks.checkpoint else None
    if kind in ('CheckpointHook', CheckpointHook):  # a lazy config holds the class
        hooks.checkpoint.type = 'DurableCheckpointHook'
    hooks.setdefault('stop', dict(type='StopHook'))
    hooks.setdefault('finite', dict(type='FiniteHook'))


def train(runner: Runner) -> None:
    """Train; where an error ends it between two iterations, as a video that cannot be read does, save it first."""
    try:
        runner.train()
    except Exception:
        told = save_after_failure(runner)
        if told:
            runner.logger.warning(told)
        raise


def check_fit(runner: Runner, path: str) -> None:
    """Check that a checkpoint holds the weights of the runner's model: all of them and no others.

    Raises:
        CheckpointError: if not; the message names what is missing and what is left over.
    """
    load_exactly(runner.model, CheckpointLoader.load_checkpoint(path, map_location='cpu'), path)


def build_runner(cfg: Config) -> Runner:
    """Build the runner that the config asks for.

    Raises:
        UsageError: if a part of the config cannot be built; the cause is chained.
    """
    try:
        return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    except CONFIG_MISTAKES as error:
        raise UsageError(f'config {cfg.filename}: {one_line(error)}') from error


def finish(main: Callable[[], None]) -> None:
    """Run a tool's ``main``; where the user can mend what went wrong, end with a plain message and status 2.

    What ended a run that was well begun (a full disk, a killed process) gets a plain message, too, and status 1.
    ``MMDSTS_TRACEBACK=1`` in the environment shows where a usage error came from.
    """
    name = Path(sys.argv[0]).name
    try:
        main()
    except Exception as error:
        told = _told(error)
        if told is None or os.environ.get('MMDSTS_TRACEBACK') == '1':
            raise
        print(f'{name}: error: {told}', file=sys.stderr)
        # As after a traceback: compat.end_process_group does not wait for processes that may be gone.
        sys.last_type = type(error)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        print(f'\n{name}: interrupted', file=sys.stderr)
        sys.exit(130)


def _told(error: Exception) -> str | None:
    """What to tell the user of an error; ``None`` where only a traceback explains it."""
    if isinstance(error, UsageError):
        return one_line(error) if isinstance(error, ClipError) else str(error)
    return explain(error)
