"""What ``make demo`` runs after ToyGym is there: a backbone trained once, models fine-tuned from it in pairs, the same
question on features made to the paper's premise, and a page that shows what the neurons learned.

Each step is a command that is printed. One that was finished on the same data is kept; one that was interrupted goes on
where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from rich.console import Console

import mmdsts
from mmdsts import cli

ROOT = Path(__file__).resolve().parent.parent
BACKBONE, FINETUNE = 'configs/slowonly_toygym.py', 'configs/dsts_toygym_finetune.py'
VARIANT = 'dsts+udl'


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--work-dir', default='work_dirs/demo', help='folder for all that is made (default: %(default)s)'
    )
    parser.add_argument('--seeds', type=int, default=2, help='pairs of trainings (default: %(default)s)')
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error(f'argument --seeds: {args.seeds} is below 1')
    return args


def call(tool: str, *arguments: object) -> None:
    """Run one of our tools as a user would, and show how."""
    words = [f'tools/{tool}', *map(str, arguments)]
    print('$ python', shlex.join(words), flush=True)
    # Threads that wait for each other make a busy machine slow.
    env = {**os.environ, 'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', '1')}
    subprocess.run([sys.executable, *words], check=True, env=env, cwd=ROOT)


def fingerprint(cfg: Config) -> str:
    """Identify config and data: a backbone is only kept for the same of both."""
    data = Path(cfg.train_dataloader.dataset.ann_file).parent
    text = cfg.pretty_text + ''.join(path.read_text() for path in sorted([*data.glob('*.txt'), *data.glob('*.json')]))
    return hashlib.sha256(text.encode()).hexdigest()


def train_backbone(cfg: Config, folder: Path) -> Path:
    """Train the backbone alone, or keep it; its last checkpoint.

    Raises:
        UsageError: The folder holds files of something else.
    """
    key, key_file = fingerprint(cfg), folder / 'demo_key.txt'
    checkpoint = folder / f'epoch_{cfg.train_cfg.max_epochs}.pth'
    folder.mkdir(parents=True, exist_ok=True)
    others = [path for path in folder.iterdir() if path != key_file]
    if others and not key_file.is_file():
        raise cli.UsageError(f'{folder} holds files of something else ({others[0].name}); give another --work-dir')
    if not key_file.is_file() or key_file.read_text() != key:
        # From here on the folder is ours, whatever interrupts.
        key_file.write_text('')
        for path in others:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        key_file.write_text(key)
    if checkpoint.is_file():
        print(f'kept: {checkpoint}')
    else:
        call('train.py', BACKBONE, '--work-dir', folder, '--seed', 0, '--resume')
    return checkpoint


def main() -> None:
    """Run the demo."""
    args = parse_args()
    os.chdir(ROOT)
    console, folder, jobs = Console(width=100), Path(args.work_dir), str(min(2, os.cpu_count() or 1))
    cfg = cli.load_config(BACKBONE)
    cli.check_data(cfg, ['train', 'val', 'test'])
    cli.check_work_dir(args.work_dir)
    console.rule('1. a backbone, trained once')
    checkpoint = train_backbone(cfg, folder / 'backbone')
    console.rule('2. from it, in pairs: alone, one static neuron a layer, DSTS with UDL')
    finetune = folder / 'finetune'
    call(
        'ablate.py',
        FINETUNE,
        '--checkpoint',
        checkpoint,
        '--variants',
        'backbone',
        VARIANT,
        '--seeds',
        args.seeds,
        '--jobs',
        jobs,
        '--work-dir',
        finetune,
    )
    console.rule("3. the same question where the paper's premise holds by construction")
    call(
        'ablate.py',
        '--control',
        '--variants',
        'two_operators',
        'dsts',
        '--seeds',
        args.seeds,
        '--jobs',
        jobs,
        '--work-dir',
        folder / 'control',
    )
    console.rule('4. what the neurons of one model learned')
    # The run of seed 0, where tools/ablate.py leaves it.
    run = finetune / 'runs' / f'{VARIANT}-s0'
    trained = run / f'epoch_{cli.load_config(FINETUNE).train_cfg.max_epochs}.pth'
    call('analysis/specialization.py', FINETUNE, trained, '--out', folder / 'specialization')
    console.rule('results')
    for title, path in (('ToyGym, fine-tuned', finetune), ("features made to the paper's premise", folder / 'control')):
        console.print(f'{title}:', style='bold')
        console.print((path / 'table.md').read_text(), markup=False, soft_wrap=True)
    video = next(Path(cfg.test_dataloader.dataset.data_prefix.video).glob('*.mp4'))
    console.print(
        f'torch {torch.__version__}, mmdsts {mmdsts.__version__}. What the neurons learned: '
        f'{folder / "specialization" / "index.html"}',
        'Next:',
        f'  python tools/demo.py {video} {FINETUNE} {trained}',
        f'  python tools/ablate.py {FINETUNE} --checkpoint {checkpoint} --frozen --seeds 10 --jobs {jobs}',
        sep='\n',
        soft_wrap=True,
        markup=False,
    )


if __name__ == '__main__':
    try:
        cli.finish(main)
    except subprocess.CalledProcessError as error:
        # The tool has said why.
        sys.exit(error.returncode)
