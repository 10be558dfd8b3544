"""What ``make demo`` runs after ToyGym is there: train, test and compare three models, with a table and a
picture.

A model that was trained by the same config on the same data is kept; one that was interrupted goes on where
it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from mmengine.config import Config
from rich.console import Console
from rich.table import Table

import mmdsts
from mmdsts import cli
from mmdsts.analysis.evaluation import Evaluation, evaluate
from mmdsts.analysis.figures import draw_activations
from mmdsts.analysis.routing import utilization

TOOLS = Path(__file__).resolve().parent
MODELS = {
    'backbone alone': 'slowonly_toygym.py',
    'one static neuron a layer': 'static_toygym.py',
    'DSTS, trained with UDL': 'dsts_toygym.py',
}


def fingerprint(cfg: Config) -> str:
    """Identify config and data: a result is only kept for the same of both."""
    data = Path(cfg.train_dataloader.dataset.ann_file).parent
    text = cfg.pretty_text + ''.join(
        path.read_text() for path in sorted([*data.glob('*.txt'), *data.glob('*.json')])
    )
    return hashlib.sha256(text.encode()).hexdigest()


def last_checkpoint(work_dir: Path) -> str | None:
    """Newest checkpoint of a work dir, as MMEngine notes it down."""
    note = work_dir / 'last_checkpoint'
    return note.read_text().strip() if note.is_file() else None


def train(config: Path, work_dir: Path, seed: int) -> tuple[str, float]:
    """Train by ``tools/train.py``, as a user would; return the last checkpoint and the seconds it took."""
    key, key_file, done_file = (
        fingerprint(Config.fromfile(config)),
        work_dir / 'demo_key.txt',
        work_dir / 'demo_done.json',
    )
    key = f'{key} {seed}'
    if not key_file.is_file() or key_file.read_text() != key:
        shutil.rmtree(work_dir, ignore_errors=True)
        work_dir.mkdir(parents=True)
        key_file.write_text(key)
    if done_file.is_file():
        print(f'kept: {work_dir} was trained by this config on this data')
    else:
        command = [
            sys.executable,
            str(TOOLS / 'train.py'),
            str(config),
            '--work-dir',
            str(work_dir),
            '--seed',
            str(seed),
            '--resume',
        ]
        print('$ python', *command[1:], flush=True)
        # A core stays free for the process that decodes: threads that wait for each other make a busy machine slow.
        threads = os.environ.get('OMP_NUM_THREADS', str(max(1, (os.cpu_count() or 1) - 1)))
        start = time.perf_counter()
        subprocess.run(command, check=True, env={**os.environ, 'OMP_NUM_THREADS': threads})
        done_file.write_text(json.dumps(dict(seconds=time.perf_counter() - start)))
    return last_checkpoint(work_dir), json.loads(done_file.read_text())['seconds']


def report(console: Console, rows: list[tuple[str, Evaluation, float]]) -> None:
    """Print the comparison and, for models with several neurons, how much each was used."""
    table = Table(title='ToyGym, held-out clips')
    for column in ('model', 'parameters', 'top-1 %', 'mean class %', 'training s'):
        table.add_column(column, justify='left' if column == 'model' else 'right')
    for title, result, seconds in rows:
        table.add_row(
            title,
            f'{result.parameters:,}',
            f'{100 * result.metrics["acc/top1"]:.1f}',
            f'{100 * result.metrics["acc/mean1"]:.1f}',
            f'{seconds:.0f}',
        )
    console.print(table)
    for title, result, _ in rows:
        if result.counts is not None and result.counts.shape[2] > 1:
            for layer, shares in enumerate(utilization(result.counts)):
                used = ' '.join(f'{100 * share:3.0f}' for share in shares.tolist())
                console.print(f'{title}: clips that activate each neuron of layer {layer}, %: {used}')


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--work-dir', default='work_dirs/demo', help='folder for the three models (default: %(default)s)'
    )
    parser.add_argument('--seed', type=int, default=0, help='random seed of all three (default: %(default)s)')
    args = parser.parse_args()
    console = Console(width=100)
    rows = []
    for title, name in MODELS.items():
        config, work_dir = TOOLS.parent / 'configs' / name, Path(args.work_dir) / Path(name).stem
        cfg = cli.load_config(str(config))
        cli.check_data(cfg, ['train', 'val', 'test'])
        console.rule(title)
        checkpoint, seconds = train(config, work_dir, args.seed)
        rows.append((title, evaluate(cfg, checkpoint, str(work_dir / 'evaluation')), seconds))
    console.rule('results')
    report(console, rows)
    classes = Path(cfg.test_dataloader.dataset.ann_file).parent / 'toygym_categories.txt'
    names = [line.split('; ')[-1].strip() for line in classes.read_text().splitlines()]
    picture = draw_activations(rows[-1][1].counts, names, Path(args.work_dir) / 'activations.png')
    console.print(
        f'seed {args.seed}, torch {torch.__version__}, mmdsts {mmdsts.__version__}; one seed says little: see README.'
    )
    console.print(f'Which classes activate which neuron: {picture}', soft_wrap=True)
    video = next(Path(cfg.test_dataloader.dataset.data_prefix.video).glob('*.mp4'))
    console.print(
        'Next:',
        f'  python tools/demo.py {video} configs/dsts_toygym.py {checkpoint}',
        f'  python tools/test.py configs/dsts_toygym.py {checkpoint}',
        '  python tools/train.py configs/dsts_toygym.py --cfg-options model.neck.num_neurons=4',
        sep='\n',
        soft_wrap=True,
    )


if __name__ == '__main__':
    try:
        cli.finish(main)
    except subprocess.CalledProcessError as error:
        # The tool has said why.
        sys.exit(error.returncode)
