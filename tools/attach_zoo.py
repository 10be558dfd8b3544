"""Try ``tools/attach.py`` on every config that comes with MMAction2: ``python tools/attach_zoo.py --out FILE``.

A table of what came of each; docs/attach_zoo.md is one. Models are of reduced size, their weights random, their data
noise.
"""

from __future__ import annotations

import argparse
import logging
import math
import warnings
from pathlib import Path

import mmaction
import mmengine
import torch
from mmengine.config import Config
from rich.console import Console

from mmdsts import cli
from mmdsts.analysis.attachment_trial import try_attachment
from mmdsts.attachment import Options
from mmdsts.attachment.sampling import sampling_of
from mmdsts.engine.update_config import plain
from mmdsts.errors import UsageError, one_line

ZOO = Path(mmaction.__file__).parent / '.mim' / 'configs'
#: Scores of two models that differ by no more are the same: frames are averaged in another order.
TOLERANCE = 1e-6


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Attach DSTS to every config of the installed MMAction2: compare its scores with the original's, "
        'train two iterations by UDL and test, at reduced size and without weights or data.'
    )
    parser.add_argument('--out', help='Markdown file to write; default: print only')
    parser.add_argument('--only', default='', metavar='TEXT', help='only configs whose path has this in it')
    parser.add_argument('--zoo', default=str(ZOO), metavar='FOLDER', help='folder of configs (default: %(default)s)')
    return parser.parse_args()


def outcome(cfg: Config, options: Options) -> tuple[str, str]:
    """What the dry run found, and what came of the trial."""
    attachment, trial = try_attachment(cfg, options)
    if not all(map(math.isfinite, trial.losses)) or not trial.scores.isfinite().all():
        return attachment.found, f'not finite: losses {trial.losses}'
    same = 'same scores' if trial.difference <= TOLERANCE else f'scores differ by {trial.difference:.1g}'
    return attachment.found, f'{same}; trains: {len(trial.losses)} iterations; tests'


def row(cfg: Config, known: dict[str, tuple[str, str]]) -> tuple[str, str]:
    """As :func:`outcome`; configs that differ in weights, classes or schedule alone are tried once."""
    model, wrapper = plain(cfg.get('model') or {}), plain(cfg.get('optim_wrapper') or {})
    for part, setting in (('backbone', 'pretrained'), ('cls_head', 'num_classes')):
        (model.get(part) or {}).pop(setting, None)
    update = [wrapper.get('type'), wrapper.get('constructor'), (wrapper.get('optimizer') or {}).get('type')]
    key = str([model, update, cfg.get('train_cfg', {}).get('type'), sampling_of(cfg)])
    if key not in known:
        try:
            known[key] = outcome(cfg, Options())
        except UsageError as error:
            known[key] = ('', f'no: {one_line(error).replace(f"config {cfg.filename}: ", "")}')
        except Exception as error:  # a table of failures is what this is for
            known[key] = ('', f'FAILS: {type(error).__name__}: {one_line(error)}')
    return known[key]


def table(rows: list[tuple[str, str, str]]) -> str:
    """Markdown."""
    works = sum(result.startswith('same scores') for _, _, result in rows)
    refused = sum(result.startswith('no: ') for _, _, result in rows)
    lines = [
        "# Configs of MMAction2's zoo, attached",
        '',
        f'`python tools/attach_zoo.py`: MMAction2 {mmaction.__version__}, MMEngine {mmengine.__version__}, torch '
        f'{torch.__version__}. {len(rows)} configs: {works} work, {refused} are refused with the reason, '
        f'{len(rows) - works - refused} otherwise.',
        '',
        f'*Same scores*: original and attached model, with the same weights, differ by at most {TOLERANCE:g} on a '
        'clip. *Trains*: by UDL with the optimizer of the config (SGD where it only tests), mixed precision left out. '
        'At reduced size: small pictures, four blocks or fewer of transformers, ResNet-50 in the place of deeper ones; '
        'random weights, and noise for data. Configs that differ in weights, classes or schedule alone are tried once.',
        '',
        '| config | found | result |',
        '| --- | --- | --- |',
    ]
    return '\n'.join([*lines, *(f'| {name} | {found} | {result} |' for name, found, result in rows)]) + '\n'


def main() -> None:
    """Try all and write the table."""
    args = parse_args()
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    zoo = Path(args.zoo)
    paths = [path for path in sorted(zoo.rglob('*.py')) if '_base_' not in path.parts and args.only in str(path)]
    if not paths:
        raise cli.UsageError(f'--zoo {zoo}: no config with {args.only!r} in its path')
    console = Console(highlight=False)
    rows, known = [], {}
    for path in paths:
        name = path.relative_to(zoo).with_suffix('').as_posix()
        rows.append((name, *row(cli.load_config(str(path)), known)))
        console.print(' | '.join(rows[-1]), soft_wrap=True, markup=False)
        if args.out:  # also of what is interrupted
            Path(args.out).write_text(table(rows), encoding='utf-8')


if __name__ == '__main__':
    cli.finish(main)
