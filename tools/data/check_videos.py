"""Check lists and their videos before a training does: unreadable files, wrong labels, clips in two splits at once.

Ends with status 0 where nothing is wrong, and with 1 where something is.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import sys
from pathlib import Path

os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # what it says of a broken file is in the table

import decord
from mmaction.registry import DATASETS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

import mmdsts  # noqa: F401  its repairs come before any other import of MMAction2
from mmdsts import cli
from mmdsts.datasets.clip_table import TableClip, parse_table, read_label_map, write_table
from mmdsts.errors import CONFIG_MISTAKES, one_line
from mmdsts.footage.check import (
    KINDS,
    CheckedList,
    Finding,
    check_contents,
    check_files,
    check_repeats,
    check_table,
    counts_of,
    file_of,
    names_of,
    usable,
)

_TABLES = ('VideoDataset', 'VideoTableDataset')
_ROWS = 40  # of the printed table


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('lists', nargs='+', metavar='LIST_OR_CONFIG', help='lists (.txt, .csv), or one config (.py)')
    parser.add_argument('--videos', metavar='DIR', help='folder that paths of lists start at; default: their own')
    parser.add_argument('--label-map', metavar='FILE', help='names of the classes; default: label_map.txt beside the list')
    parser.add_argument('--num-classes', type=int, help='labels are below it; default: as config or label map say')
    parser.add_argument('--clip-len', type=int, help='frames sampled of a clip; default: as the config says')
    parser.add_argument('--quick', action='store_true', help='decode the first frame of each file only')
    parser.add_argument('--ignore', nargs='+', default=[], metavar='KIND', help='kinds of findings to pass over')
    parser.add_argument('--out', metavar='FILE.csv', help='also write all findings to a table')
    parser.add_argument(
        '--write', action='store_true', help='write NAME_checked.csv beside each list, without clips that cannot be used'
    )
    parser.add_argument('--jobs', type=int, default=4, help='files at the same time; default: %(default)s')
    parser.add_argument(
        '--cfg-options', nargs='+', action=cli.CfgOptions, metavar='KEY=VALUE', help='change the config'
    )
    args = parser.parse_args()
    for name in ('num_classes', 'clip_len', 'jobs'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'argument --{name.replace("_", "-")}: {value} is not positive')
    unknown = sorted({*args.ignore} - {*KINDS})
    if unknown:
        parser.error(f'argument --ignore: {unknown[0]!r} is no kind of finding; expected some of {", ".join(KINDS)}')
    configs = [path for path in args.lists if path.endswith('.py')]
    if configs and len(args.lists) > 1:
        parser.error(f'{configs[0]} is a config, which names its lists; give it alone')
    return args


def lists_given(args: argparse.Namespace) -> list[CheckedList]:
    """The lists of the command line."""
    found = []
    paths = list(dict.fromkeys(args.lists))
    for path, name in zip(paths, names_of(paths)):
        if not Path(path).is_file():
            raise cli.UsageError(f'{path}: no such file (the working directory is {Path.cwd()})')
        if path.endswith('.json'):
            raise cli.UsageError(f'{path}: is read by a data set class of its own; give the config that names it')
        label_map = args.label_map or Path(path).with_name('label_map.txt')
        classes = _label_map(label_map) if args.label_map or label_map.is_file() else None
        root = args.videos or _root_of(path)
        found.append(check_table(path, root, classes, args.num_classes, args.clip_len, name))
    return found


def _label_map(path) -> list[str]:
    try:
        return read_label_map(str(path))
    except (ValueError, FileNotFoundError) as error:
        raise cli.UsageError(f'label map {error}') from error


def _root_of(path: str) -> str:
    """Of the folders that the paths of a list may start at, the one in which most of its videos are."""
    folder = Path(path).parent
    try:
        clips = parse_table(path).clips
    except (ValueError, FileNotFoundError):
        return str(folder)
    folders = [folder, folder / 'videos', folder / 'clips']
    counts = [sum(Path(file_of(str(each / clip.path))).is_file() for clip in clips) for each in folders]
    if clips and not any(counts):
        raise cli.UsageError(
            f'{path}: no video of it is in {" or ".join(map(str, folders))}, such as {clips[0].path}; say with --videos '
            'at which folder its paths start, or give the config that names the list'
        )
    return str(folders[counts.index(max(counts))])


def lists_of_config(cfg: Config, args: argparse.Namespace) -> list[CheckedList]:
    """The lists of a config's loaders, each once."""
    cli.check_data(cfg, ('train', 'val', 'test'))
    found: dict[tuple, tuple] = {}
    for stage in ('train', 'val', 'test'):
        loader = cfg.get(f'{stage}_dataloader')
        for name, dataset in cli.datasets_of(loader['dataset'], f'{stage}_dataloader.dataset') if loader else ():
            key = (dataset.get('type'), dataset.get('data_root'), dataset.get('ann_file'))
            found.setdefault(key, (name, dataset))
    if not found:
        raise cli.UsageError(f'config {cfg.filename} has no loader')
    files = [os.path.join(d.get('data_root') or '', d.get('ann_file') or name) for name, d in found.values()]
    return [_checked(cfg, *each, label, args) for each, label in zip(found.values(), names_of(files))]


def _checked(cfg: Config, name: str, dataset: dict, label: str, args: argparse.Namespace) -> CheckedList:
    root = dataset.get('data_root') or ''
    head = (cfg.get('model') or {}).get('cls_head') or {}
    num_classes = args.num_classes or head.get('num_classes')
    clip_len = args.clip_len or _clip_len(dataset.get('pipeline') or ())
    if dataset.get('type') in _TABLES:
        names = args.label_map or dataset.get('classes_file')
        classes = _label_map(os.path.join(root, names)) if names else (dataset.get('metainfo') or {}).get('classes')
        folder = args.videos or os.path.join(root, (dataset.get('data_prefix') or {}).get('video') or '')
        return check_table(os.path.join(root, dataset['ann_file']), folder, classes, num_classes, clip_len, label)
    # A format of its own, which its class knows.
    try:
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmaction'):
            built = DATASETS.build(dict(dataset, pipeline=[]))
    except CONFIG_MISTAKES as error:
        return CheckedList(label, None, [], [Finding('list', label, one_line(error))], clip_len)
    clips, findings = [], []
    for i in range(len(built)):
        info = built.get_data_info(i)
        path = info.get('filename')
        if path is None:
            raise cli.UsageError(f'{name}: a {dataset.get("type")} has no video files to check')
        clips.append(TableClip(path, str(info['label']), info.get('start'), info.get('end')))
        if num_classes is not None and isinstance(info['label'], int) and not 0 <= info['label'] < num_classes:
            text = f'{info["label"]} is out of range, expected 0 to {num_classes - 1}'
            findings.append(Finding('label', label, f'{Path(path).name}: {text}', path))
    return CheckedList(label, None, clips, findings, clip_len)


def _clip_len(pipeline) -> int | None:
    """Frames that a pipeline samples of a clip."""
    for step in pipeline:
        length, kind = step.get('clip_len'), str(step.get('type'))
        if length and 'Sample' in kind:
            spread = step.get('num_clips', 1) if length == 1 else step.get('frame_interval') or 1
            return length * spread
    return None


def decodes_with_decord(cfg: Config | None) -> bool:
    """Whether what decord cannot decode cannot be used: where a pipeline has nothing else."""
    if cfg is None:
        return TRANSFORMS.get('ClipInit') is None
    loaders = [cfg.get(f'{stage}_dataloader') for stage in ('train', 'val', 'test')]
    datasets = [dataset for loader in loaders if loader for _, dataset in cli.datasets_of(loader['dataset'], '')]
    return any(step.get('type') == 'DecordInit' for dataset in datasets for step in dataset.get('pipeline') or ())


def show(findings: list[Finding], console: Console) -> None:
    """Print what was found, and how much of each kind."""
    table = Table('kind', Column('where', overflow='fold'), Column('what', overflow='fold'))
    for finding in findings[:_ROWS]:
        table.add_row(finding.kind, finding.where, finding.text)
    if len(findings) > _ROWS:
        table.add_row('...', '', f'{len(findings) - _ROWS} more; --out FILE.csv has all')
    console.print(table, markup=False)
    for kind, count in counts_of(findings).most_common():
        console.print(f'{count:6d}  {kind}', markup=False)


def write_findings(path: str, findings: list[Finding]) -> None:
    """Write all findings to a table."""
    try:
        with open(path, 'w', encoding='utf-8', newline='') as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(('kind', 'where', 'what'))
            writer.writerows((finding.kind, finding.where, finding.text) for finding in findings)
    except OSError as error:
        raise cli.UsageError(f'--out {path}: cannot be written ({error.strerror})') from error


def write_checked(lists: list[CheckedList], findings: list[Finding], console: Console) -> None:
    """Write the clips that can be used as lists beside the lists."""
    for each in lists:
        if each.file is None:
            console.print(f'{each.name}: no table, --write leaves it alone', markup=False)
            continue
        given = parse_table(each.file).clips
        good = [clip for clip, good in zip(given, usable(each, findings)) if good]
        path = Path(each.file).with_name(f'{Path(each.file).stem}_checked.csv')
        write_table(str(path), good)
        console.print(f'{path}: {len(good)} of {len(given)} clips', markup=False)


def main() -> None:
    """Check as the command line says."""
    args = parse_args()
    if importlib.util.find_spec('av') is None:
        raise cli.UsageError('files are looked into with PyAV, which is not installed: pip install av')
    decord.logging.set_level(decord.logging.QUIET)
    if args.out:
        cli.check_writable(args.out, '--out')
    cfg = None
    if args.lists[0].endswith('.py'):
        cfg = cli.load_config(args.lists[0])
        cli.merge_options(cfg, args.cfg_options)
        lists = lists_of_config(cfg, args)
    else:
        lists = lists_given(args)
    console = Console(soft_wrap=True, highlight=False)
    findings = [finding for each in lists for finding in each.findings]
    findings += check_repeats(lists) + check_contents(lists)

    def bar(items, total):
        return track(items, 'videos', total=total, console=Console(stderr=True))

    findings += check_files(lists, args.jobs, args.quick, decodes_with_decord(cfg), bar)
    findings = [finding for finding in findings if finding.kind not in args.ignore]
    files = {clip.path for each in lists for clip in each.clips}
    counts = ', '.join(f'{each.name} {len(each.clips)} clips' for each in lists)
    if args.out:
        write_findings(args.out, findings)
    if findings:
        show(findings, console)
    if args.write:
        write_checked(lists, findings, console)
    console.print(
        f'{counts}; {len(files)} videos: ' + (f'{len(findings)} findings' if findings else 'nothing is wrong'),
        markup=False,
    )
    if findings:
        sys.exit(1)


if __name__ == '__main__':
    cli.finish(main)
