"""What the neurons of a trained recognizer specialized in.

``python tools/analysis/specialization.py CONFIG CHECKPOINT`` writes one page with all figures, ``index.html``, the
figures as PNG files and the numbers as JSON.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from mmaction.registry import DATASETS
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import mmdsts
from mmdsts import cli
from mmdsts.analysis.demo import class_names, load_recognizer
from mmdsts.analysis.specialization import collect, write_report
from mmdsts.analysis.specialization.collect import find_neck
from mmdsts.analysis.specialization.nuisance import nuisances_of
from mmdsts.analysis.specialization.report import make_folder, parts_of
from mmdsts.analysis.specialization.study import Subject
from mmdsts.datasets.parts import never_replace
from mmdsts.errors import CONFIG_MISTAKES, one_line


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Show what the neurons of a DSTS neck specialized in')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file or address')
    parser.add_argument('--out', metavar='DIR', help='folder to write; default: specialization, beside the checkpoint')
    parser.add_argument(
        '--split',
        choices=['val', 'test', 'train'],
        help='whose loader the clips come from; default: val, mostly one view a clip, or test if there is no val',
    )
    parser.add_argument('--max-clips', type=int, metavar='N', help='take N clips at random; default: all')
    parser.add_argument('--clips', type=int, default=3, help='film strips of each neuron; default: %(default)s')
    parser.add_argument('--label', metavar='FILE', help='names of the classes, as for tools/demo.py')
    parser.add_argument('--seed', type=int, default=0, help='seed of random neurons and clips; default: %(default)s')
    parser.add_argument(
        '--device',
        type=cli.device,
        default='cuda:0' if torch.cuda.is_available() else 'cpu',
        help='where to run; default: %(default)s',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=cli.CfgOptions, metavar='KEY=VALUE', help='change the config'
    )
    args = parser.parse_args()
    for name, least in (('max_clips', 2), ('clips', 0), ('seed', 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f'argument --{name.replace("_", "-")}: {value} is below {least}')
    return args


def default_out(checkpoint: str) -> Path:
    """``specialization`` beside the checkpoint, or in the working directory for one that is downloaded."""
    return Path('.' if '://' in checkpoint else checkpoint).parent / 'specialization'


def main() -> None:
    """Study as the command line says."""
    args = parse_args()
    cli.check_checkpoint(args.checkpoint, 'checkpoint')
    cfg = cli.load_config(args.config)
    cli.merge_options(cfg, args.cfg_options)
    split = args.split or ('val' if cfg.get('val_dataloader') else 'test')
    loader = cfg.get(f'{split}_dataloader')
    if not loader:
        raise cli.UsageError(f'--split {split}: config {args.config} has no {split}_dataloader')
    cli.check_data(cfg, [split])
    # Before the pass, which takes longer.
    out = args.out or default_out(args.checkpoint)
    with cli.about('--out', out):
        out = make_folder(out)
    model = load_recognizer(cfg, args.checkpoint, args.device)
    neck = find_neck(model)
    try:
        dataset = DATASETS.build(loader.dataset)
        never_replace(dataset)
        indices = np.arange(len(dataset))
        if args.max_clips is not None and args.max_clips < len(indices):
            indices = np.sort(np.random.default_rng(args.seed).choice(indices, args.max_clips, replace=False))
        nuisances = nuisances_of(dataset, indices)
    except CONFIG_MISTAKES as error:
        raise cli.UsageError(f'{split}_dataloader: {one_line(error)}') from error
    with cli.about('--label', args.label):
        names = class_names(model, args.label)
    subject = Subject(
        names,
        dataset.metainfo.get('class_sets'),
        dataset.metainfo.get('set_names') or {},
        nuisances,
    )
    views = (model.test_cfg or {}).get('max_testing_views')
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        clips = progress.add_task('clips', total=len(indices))
        record = collect(
            model,
            dataset,
            indices=indices.tolist(),
            batch_size=1 if views else loader.get('batch_size', 1),
            num_workers=loader.get('num_workers', 0),
            seed=args.seed,
            on_progress=lambda done: progress.update(clips, completed=done),
        )
        figures = progress.add_task('figures', total=parts_of(len(neck.layers)))
        page = write_report(
            record,
            neck,
            subject,
            out,
            title=f'What the neurons of {Path(args.config).stem} learned',
            notes=[
                f'checkpoint {Path(args.checkpoint).name}',
                f'clips of {split}_dataloader',
                f'mmdsts {mmdsts.__version__}',
            ],
            dataset=dataset,
            indices=indices.tolist(),
            clips=args.clips,
            on_progress=lambda name: progress.advance(figures),
        )
    print(f'page: {page}')


if __name__ == '__main__':
    cli.finish(main)
