"""What ``tools/train.py`` and ``tools/test.py`` share: options, config, checks before a run and its end."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Callable, Iterator, Sequence

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmdsts.errors import UsageError


class CfgOptions(DictAction):
    """``--cfg-options KEY=VALUE ...``; a part without ``=`` is a usage error, not a traceback."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Check the parts, then let MMEngine read them."""
        for value in values:
            if '=' not in value:
                parser.error(f'argument {option_string}: {value!r} is not of the form KEY=VALUE, '
                             'as in model.neck.num_neurons=4 (no spaces inside a value)')
        super().__call__(parser, namespace, values, option_string)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share, under the names MMAction2 gives them."""
    parser.add_argument('--work-dir', help='folder for logs, checkpoints and metrics; default: that of the '
                        'config, else work_dirs/<name of the config>')
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, metavar='KEY=VALUE',
                        help='change the config, e.g. model.neck.num_neurons=4 or key="[(a,b),(c,d)]"')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='how the processes of a distributed run were started')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


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
        raise UsageError(f'config {path}: {type(error).__name__}: {error}') from error


def apply_common_options(cfg: Config, args: argparse.Namespace) -> None:
    """Write the shared options into ``cfg``; only ``--work-dir`` comes after ``--cfg-options``.

    Raises:
        UsageError: if an entry of ``--cfg-options`` does not fit the config.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg.launcher = args.launcher
    if args.cfg_options:
        try:
            cfg.merge_from_dict(args.cfg_options)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise UsageError(f'--cfg-options {args.cfg_options}: {error}') from error
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(args.config).stem)


def _datasets(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """Yield the datasets inside wrappers such as ``RepeatDataset`` and ``ConcatDataset``."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    if not inner:
        yield dataset
    for part in inner:
        yield from _datasets(part)


def check_data(cfg: Config, stages: Sequence[str]) -> None:
    """Check that the annotation files and video folders exist, before a model is built.

    Args:
        cfg (Config): the whole config.
        stages (Sequence[str]): of ``'train'``, ``'val'``, ``'test'``; those without a loader are passed over.

    Raises:
        UsageError: naming the missing file and what makes it.
    """
    for stage in stages:
        loader = cfg.get(f'{stage}_dataloader')
        for dataset in _datasets(loader['dataset']) if loader else ():
            wanted = [dataset.get('ann_file'), *(dataset.get('data_prefix') or {}).values()]
            for path in filter(None, wanted):
                path = os.path.join(dataset.get('data_root') or '', path)
                if '://' not in path and not os.path.exists(path):
                    raise UsageError(f'{stage}_dataloader: {path} does not exist. {_how_to_get(path)}')


def _how_to_get(path: str) -> str:
    """Say how missing data comes into being."""
    parts = Path(path).parts
    toygym = [i for i, part in enumerate(parts) if 'toygym' in part]
    if toygym:
        tool = Path(sys.argv[0]).parent / 'data' / 'make_toygym.py'
        return f'Make it with: python {tool} --out {Path(*parts[:toygym[0] + 1])}'
    return 'Get the data set as its config describes, or say where it is with --cfg-options.'


def check_checkpoint(path: str, option: str) -> None:
    """Check that a checkpoint given as a local path exists.

    Raises:
        UsageError: if it does not.
    """
    if '://' not in path and not Path(path).is_file():
        raise UsageError(f'{option} {path}: no such file (the working directory is {Path.cwd()})')


def build_runner(cfg: Config) -> Runner:
    """Build the runner that the config asks for.

    Raises:
        UsageError: if a part of the config cannot be built; the cause is chained.
    """
    try:
        return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise UsageError(f'config {cfg.filename}: {message}') from error


def finish(main: Callable[[], None]) -> None:
    """Run a tool's ``main``; where the user can mend what went wrong, end with a plain message and status 2.

    ``MMDSTS_TRACEBACK=1`` in the environment shows where a usage error came from.
    """
    name = Path(sys.argv[0]).name
    try:
        main()
    except UsageError as error:
        if os.environ.get('MMDSTS_TRACEBACK') == '1':
            raise
        print(f'{name}: error: {error}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f'\n{name}: interrupted', file=sys.stderr)
        sys.exit(130)
