"""From a folder of videos, or a table of them, to lists, a label map and a config that trains.

SOURCE is a folder with a folder per class (folders train/, val/ and test/ around them, and a folder per person, match or
camera inside them, are understood), a folder with lists of MMAction2 (train.txt, val.txt), or a table (CSV) with the
columns path and label, and maybe start and end (seconds of the video), group and split.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import tempfile
from collections import Counter
from pathlib import Path

os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # what it says of a broken file, check_videos.py says better

from rich.console import Console
from rich.table import Table

import mmdsts  # noqa: F401  its repairs come before any other import of MMAction2
from mmdsts import cli
from mmdsts.analysis.specialization.report import make_folder
from mmdsts.datasets.clip_table import write_table
from mmdsts.footage.backbone import METHODS, Backbone, DryRun, batch_size, dry_run, find_backbone, memory_here
from mmdsts.footage.config import Recipe, write_config
from mmdsts.footage.measure import Measures, clip_length, frame_size, measure
from mmdsts.footage.sources import Footage, find_footage
from mmdsts.footage.split import Split, split_clips

_LENGTHS = (8, 16, 32)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', help='folder of videos, or table')
    parser.add_argument('--out', metavar='DIR', help='folder to write; default: data/<name of SOURCE>')
    parser.add_argument('--videos', metavar='DIR', help='folder that paths of a table start at; default: its own')
    parser.add_argument(
        '--pattern',
        metavar='REGEX',
        help='where class and group stand in the path of a video, as in "(?P<group>p[0-9]+)_(?P<label>[a-z]+)"',
    )
    parser.add_argument(
        '--backbone',
        default='slowonly_tiny',
        help='a model file: its name in configs/_base_/models of ours or of MMAction2, or its path; slowonly_tiny trains '
        'from scratch on a CPU, slowonly_r50 from weights of Kinetics-400; default: %(default)s',
    )
    parser.add_argument(
        '--method',
        choices=METHODS,
        default='dsts',
        help='the backbone alone, with DSTS, or with DSTS trained by UDL; default: %(default)s',
    )
    parser.add_argument('--val-share', type=float, default=0.25, help='share to hold out; default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='of the split; default: %(default)s')
    parser.add_argument('--clip-len', type=int, help='frames of a clip; default: by the median length of the clips')
    parser.add_argument(
        '--size', type=int, nargs=2, metavar=('W', 'H'), help='size of the frames; default: shaped as most videos are'
    )
    parser.add_argument('--memory', type=float, metavar='GB', help='memory to train in; default: what is here')
    parser.add_argument('--epochs', type=int, help='default: 30, or about 1000 steps from scratch')
    parser.add_argument('--jobs', type=int, default=4, help='files to look at at the same time; default: %(default)s')
    parser.add_argument('--overwrite', action='store_true', help='replace what an earlier run wrote to --out')
    args = parser.parse_args()
    if not 0 < args.val_share < 1:
        parser.error(f'argument --val-share: {args.val_share} is not between 0 and 1')
    for name in ('clip_len', 'memory', 'epochs', 'jobs'):
        value = getattr(args, name)
        if value is not None and value <= 0:
            parser.error(f'argument --{name.replace("_", "-")}: {value} is not positive')
    if args.size and min(args.size) < 16:
        parser.error(f'argument --size: {args.size[0]} {args.size[1]} is below 16 pixels')
    return args


def run_backbone(
    backbone: Backbone, args: argparse.Namespace, classes: int, measures: Measures
) -> tuple[DryRun, int, tuple]:
    """Find the number of frames and their size that a backbone takes; its dry run, both of them."""
    length = args.clip_len or clip_length(measures)
    size = tuple(args.size) if args.size else None
    wanted = size or frame_size(measures, *((64, 16) if backbone.is_small else (224, 32)))
    choices = [(length, wanted)]
    # Transformers take one size only, and some networks shrink time by a factor.
    if not args.size:
        choices.append((length, (224, 224)))
    if not args.clip_len:
        choices += [(other, (224, 224) if not args.size else wanted) for other in _LENGTHS if other > length]
    first_error = None
    for frames, shape in choices:
        try:
            return dry_run(backbone, args.method, classes, frames, shape), frames, shape
        except cli.UsageError as error:
            first_error = first_error or error
    raise first_error


def show(footage: Footage, split: Split, console: Console) -> None:
    """Print clips and groups of each class."""
    table = Table('class', *(f'{name} clips' for name in split.clips), 'groups')
    counts = {name: Counter(clip.label for clip in clips) for name, clips in split.clips.items()}
    groups = {label: {c.group for c in footage.clips if c.label == label and c.group} for label in footage.classes}
    for label in footage.classes[:20]:
        table.add_row(label, *(str(counts[name][label]) for name in split.clips), str(len(groups[label]) or '-'))
    if len(footage.classes) > 20:
        table.add_row(f'... {len(footage.classes) - 20} more', *('' for _ in split.clips), '')
    table.add_section()
    table.add_row('all', *(str(len(clips)) for clips in split.clips.values()), '')
    console.print(table)


def write(out: Path, files: dict, overwrite: bool) -> None:
    """Write all files, or none where one of them is there already."""
    there = [name for name in files if (out / name).exists()]
    if there and not overwrite:
        raise cli.UsageError(
            f'--out {out}: {", ".join(there)} {"is" if len(there) == 1 else "are"} there; give another folder, or '
            '--overwrite to replace'
        )
    with cli.about('--out', out):
        make_folder(out)
    with tempfile.TemporaryDirectory(dir=out, prefix='.prepare') as folder:
        for name, content in files.items():
            path = Path(folder, name)
            if isinstance(content, str):
                path.write_text(content, encoding='utf-8')
            else:
                write_table(str(path), content)
        for name in files:
            os.replace(Path(folder, name), out / name)


def next_commands(config: Path, name: str) -> list[str]:
    """What to type next: check, train, test."""
    tools, config_text = (shlex.quote(_short(path)) for path in (Path(sys.argv[0]).resolve().parents[1], config))
    return [
        f'python {tools}/data/check_videos.py {config_text}',
        f'python {tools}/train.py {config_text}',
        f'python {tools}/test.py {config_text} work_dirs/{name}/best_acc_mean1_epoch_*.pth',
    ]


def _short(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith('..') else relative


def main() -> None:
    """Prepare as the command line says."""
    args = parse_args()
    console = Console(soft_wrap=True, highlight=False)
    backbone = find_backbone(args.backbone)
    footage = find_footage(args.source, args.pattern, args.videos)
    split = split_clips(footage.clips, args.val_share, args.seed)
    measures = measure(footage.clips, footage.root, args.jobs)
    run, length, size = run_backbone(backbone, args, len(footage.classes), measures)
    memory = int(args.memory * 2**30) if args.memory else memory_here()
    train = len(split.clips['train'])
    clips = batch_size(run, memory, train, args.method == 'dsts+udl')

    title = re.sub(r'\W+', '_', Path(args.source).resolve().stem).strip('_') or 'videos'
    out = Path(args.out or Path('data', title)).resolve()
    name = f'{title}_{backbone.name}'
    recipe = Recipe(
        title,
        out,
        footage.root,
        {part: len(some) for part, some in split.clips.items()},
        footage.classes,
        measures,
        backbone,
        run.model,
        length,
        size,
        min(clips, train),
        min(max((os.cpu_count() or 2) // 2, 1), 8),
        args.epochs,
        args.method == 'dsts+udl',
    )
    tables = {f'{part}.csv': [clip._replace(split=None) for clip in some] for part, some in split.clips.items()}
    files = {**tables, 'label_map.txt': ''.join(f'{label}\n' for label in footage.classes)}
    files[f'{name}.py'] = write_config(recipe)
    write(out, files, args.overwrite)

    for note in footage.notes:
        console.print(note, markup=False)
    show(footage, split, console)
    console.print(f'split {split.rule}', markup=False)
    if measures.unreadable:
        some = f'{len(measures.unreadable)} of {measures.clips} files cannot be opened, such as {measures.unreadable[0]}'
        console.print(f'warning: {some}; the first command below says why', style='bold', markup=False)
    for warning in split.warnings:
        console.print(f'warning: {warning}', style='bold', markup=False)
    console.print(
        f'{backbone.name}: feature {run.feature}, {run.parameters / 1e6:.1f} million parameters, '
        f'{run.clip_bytes / 2**20:.0f} MiB a clip; {length} frames of {size[0]} x {size[1]}, {recipe.batch_size} clips '
        f'a step for {memory / 2**30:.1f} GiB',
        markup=False,
    )
    console.print(f'\n{out}: {", ".join(files)}\nNext:', markup=False)
    for command in next_commands(out / f'{name}.py', name):
        console.print(f'  {command}', markup=False)


if __name__ == '__main__':
    cli.finish(main)
