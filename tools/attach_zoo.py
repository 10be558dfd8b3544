"""Try ``tools/attach.py`` on every config that comes with MMAction2: ``python tools/attach_zoo.py --out FILE.md``.

A page of what came of each; docs/attach_zoo.md is one. Models are of reduced size, their weights random, their data
noise.
"""

from __future__ import annotations

import argparse
import csv
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
from mmdsts.analysis.attachment_page import Row, page
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
    parser.add_argument(
        '--out',
        metavar='FILE.md',
        help='page to write, and beside it FILE.csv with its rows: configs that are in it are not tried again, so that '
        'an interrupted call goes on. Default: print only',
    )
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


def tried(cfg: Config, known: dict[str, tuple[str, str]]) -> tuple[str, str]:
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


def head() -> str:
    """What the page says of how it was made."""
    return (
        f'`python tools/attach_zoo.py --out FILE.md`: MMAction2 {mmaction.__version__}, MMEngine '
        f'{mmengine.__version__}, torch {torch.__version__}.\n\n'
        f'*Same scores*: original and attached model, with the same weights, differ by at most {TOLERANCE:g} on a '
        'clip. *Trains*: by UDL with the optimizer of the config (SGD where it only tests), mixed precision left out. '
        'At reduced size: small pictures, four blocks or fewer of transformers, ResNet-50 in the place of deeper ones; '
        'random weights, and noise for data. Configs that differ in weights, classes or schedule alone are tried once.'
    )


def read_rows(path: Path) -> list[Row]:
    """Rows of an earlier call, none where there was none."""
    if not path.is_file():
        return []
    with path.open(encoding='utf-8', newline='') as file:
        table = list(csv.reader(file))
    wrong = next((i for i, cells in enumerate(table, 1) if len(cells) != len(Row._fields)), None)
    if wrong or not table or tuple(table[0]) != Row._fields:
        raise cli.UsageError(
            f'{path}, line {wrong or 1}: expected {",".join(Row._fields)}, as an earlier call wrote. Remove it to try '
            'all configs anew'
        )
    return [Row(*cells) for cells in table[1:]]


class Page:
    """The file to write, and beside it, as CSV, the rows that it is made of; both hold what is done so far.

    Args:
        path: Markdown file, or None: nothing is written.
    """

    def __init__(self, path: str | None) -> None:
        self.path = Path(path) if path else None
        self.table = self.path.with_suffix('.csv') if self.path else None
        if self.path and self.path.suffix != '.md':
            raise cli.UsageError(f'--out {path}: expected a name that ends in .md')
        if self.path:
            cli.check_writable(str(self.path), '--out')
        self.rows = read_rows(self.table) if self.table else []

    def add(self, row: Row) -> None:
        """Add a row, and write it before the next one is tried."""
        self.rows.append(row)
        if self.table:
            new = not self.table.is_file()
            with self.table.open('a', encoding='utf-8', newline='') as file:
                csv.writer(file, lineterminator='\n').writerows([Row._fields, row] if new else [row])
        self.write()

    def write(self) -> None:
        """Write the page of the rows so far."""
        if self.path:
            self.path.write_text(page(self.rows, head()), encoding='utf-8')


def main() -> None:
    """Try what was not tried before, and write the page."""
    args = parse_args()
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    zoo = Path(args.zoo)
    paths = [path for path in sorted(zoo.rglob('*.py')) if '_base_' not in path.parts and args.only in str(path)]
    if not paths:
        raise cli.UsageError(f'--zoo {zoo}: no config with {args.only!r} in its path')
    console, written = Console(highlight=False), Page(args.out)
    done, known = {row.config for row in written.rows}, {}
    for path in paths:
        name = path.relative_to(zoo).with_suffix('').as_posix()
        if name not in done:
            row = Row(name, *tried(cli.load_config(str(path)), known))
            console.print(' | '.join(row), soft_wrap=True, markup=False)
            written.add(row)
    written.write()


if __name__ == '__main__':
    cli.finish(main)
