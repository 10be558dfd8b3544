"""Look through a FineGym download in any of the usual layouts, say what is there, and cut clips where asked to.

Expects the lists in ``ROOT/annotations/gym*_element*.txt``. Videos are looked for in ROOT and in ``--videos``: elements,
events and whole videos, ``.mp4``, ``.mkv`` or ``.webm``, in folders of any depth. Whole videos need no cutting: training
decodes windows of them. The temporal annotation gives their times; without it the whole seconds in names do.
"""

from __future__ import annotations

import argparse
import csv
import os
import shlex
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Iterable

from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

import mmdsts  # noqa: F401  its repairs come before any other import of MMAction2
from mmdsts import cli
from mmdsts.datasets.decoding.choice import check_with_either
from mmdsts.datasets.finegym import Categories, read_categories, read_sets
from mmdsts.datasets.finegym_clips import Stock, cut_clip, find_ffmpeg, shared_videos, take_stock, write_available
from mmdsts.datasets.finegym_files import FineGymFiles, count_kinds, folder_below, is_below
from mmdsts.datasets.finegym_windows import find_info, read_times
from mmdsts.errors import ClipError

_NAMES = 3  # classes named in a line


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Check and complete a FineGym download')
    parser.add_argument(
        '--root', default='data/finegym', help='folder of annotations/ and videos; default: %(default)s'
    )
    parser.add_argument('--videos', help='another folder of downloaded videos; with --info, clips are cut from them')
    parser.add_argument(
        '--info',
        help='temporal annotation, finegym_annotation_info_v1.1.json; default: that in ROOT/annotations, if it is there',
    )
    parser.add_argument('--cut', action='store_true', help='cut clips from longer videos into ROOT/clips, with ffmpeg')
    parser.add_argument('--open', action='store_true', help='also decode each clip: one that cannot be decoded is missing')
    parser.add_argument(
        '--write',
        action='store_true',
        help='write NAME_available.txt beside each list, and coverage.csv and label maps into ROOT/annotations',
    )
    parser.add_argument('--jobs', type=int, default=4, help='clips to open or cut at the same time; default: %(default)s')
    args = parser.parse_args()
    if args.jobs < 1:
        parser.error(f'argument --jobs: {args.jobs} is not a positive number')
    if args.info and not Path(args.info).is_file():
        parser.error(f'argument --info: {args.info}: no such file')
    for name in ('root', 'videos'):
        folder = getattr(args, name)
        if folder and not Path(folder).is_dir():
            parser.error(f'argument --{name}: {folder}: no such folder (the working directory is {Path.cwd()})')
    return args


def side_by_side(function: Callable, items: list, jobs: int, what: str) -> list:
    """Results for all items, in their order; an interruption ends it after the items at work."""
    pool = ThreadPoolExecutor(jobs)
    futures = [pool.submit(function, item) for item in items]
    try:
        return [future.result() for future in track(futures, what)]
    finally:
        for future in futures:
            future.cancel()
        pool.shutdown()


def find_broken(clips: Iterable[str], jobs: int) -> dict[str, str]:
    """Of some clips those that are there but cannot be decoded, and why."""

    def fault(path: str) -> str | None:
        try:
            check_with_either(path)
        except ClipError as error:
            return str(error)
        return None

    paths = sorted(path for path in clips if os.path.isfile(path) and os.path.getsize(path) > 0)
    faults = side_by_side(fault, paths, jobs, 'opening')
    return {path: fault for path, fault in zip(paths, faults) if fault}


def take_stocks(lists: list[Path], folders: list[str], broken: dict[str, str]) -> list[Stock]:
    """What is there of each list, but for the clips that are broken."""
    files = [FineGymFiles(folder) for folder in folders]
    return [take_stock(str(path), files, readable=lambda clip: clip not in broken) for path in lists]


def own_files(stocks: list[Stock]) -> set[str]:
    """The files of elements that have one of their own."""
    return {file.path for stock in stocks for file in stock.files.values() if file.kind == 'clip'}


def cut_missing(stocks: list[Stock], info: str | None, root: str, jobs: int) -> list[str]:
    """Cut the elements of all lists that have no file of their own but are in a longer one; the files it tried."""
    find_ffmpeg()
    times = read_times(info) if info else {}
    clips = Path(root, 'clips')
    longer = {
        clip: file for stock in stocks for clip, file in stock.files.items() if file.kind != 'clip'
    }
    missing = {clip for stock in stocks for clip, _ in stock.missing}
    timed = len(longer.keys() & times.keys())
    print(
        f'{len(longer) + len(missing)} clips are missing; {len(missing)} have no downloaded video; cutting {len(longer)}, '
        f'{timed} at their times in {info or "no file"}, {len(longer) - timed} at the whole seconds of their names'
    )

    def cut(clip: str) -> str | None:
        file = longer[clip]
        try:
            cut_clip(file.path, file.window(clip, times), str(clips / f'{clip}.mp4'))
        except RuntimeError as error:
            return str(error)
        return None

    failures = [text for text in side_by_side(cut, sorted(longer), jobs, 'cutting') if text]
    if failures:
        print(f'{len(failures)} clips could not be cut; the first: {failures[0]}')
    return [str(clips / f'{clip}.mp4') for clip in longer]


def categories_of(stock: Stock, annotations: Path) -> Categories | None:
    """The classes of a list, by its name; None where their file is not there, ValueError where labels are not in it."""
    path = annotations / f'{Path(stock.ann_file).name.split("_")[0]}_categories.txt'
    if not path.is_file():
        return None
    categories = read_categories(str(path))
    if (highest := max(stock.all_of_class)) >= len(categories.classes):
        raise ValueError(
            f'{stock.ann_file} has label {highest}, expected 0 to {len(categories.classes) - 1}, as {path} has '
            f'{len(categories.classes)} classes; do list and categories belong together?'
        )
    return categories


def show_lists(stocks: list[Stock], console: Console) -> None:
    """How much of each list is there."""
    table = Table(Column('list', overflow='fold'), 'version', 'clips', 'classes', 'fewest of a class', 'videos')
    for stock in stocks:
        counts = stock.clips_of_class
        fewest = min(counts.values()) if len(counts) == stock.classes else 0
        there, wanted = ({clip[:11] for clip, _ in part} for part in (stock.present, stock.present + stock.missing))
        table.add_row(
            Path(stock.ann_file).name,
            stock.version,
            f'{len(stock.present)} of {len(stock.present) + len(stock.missing)}',
            f'{len(counts)} of {stock.classes}',
            str(fewest),
            f'{len(there)} of {len(wanted)}',
        )
    console.print(table)


def show_sets(stocks: list[Stock], annotations: Path, console: Console) -> None:
    """How much of each set is there, and which classes have no clip."""
    sets_file = annotations / 'set_categories.txt'
    names = read_sets(str(sets_file)) if sets_file.is_file() else {}
    known = [(stock, categories_of(stock, annotations)) for stock in stocks]
    known = [(stock, categories) for stock, categories in known if categories]
    if known:
        table = Table('set', *(Column(Path(stock.ann_file).stem, overflow='fold') for stock, _ in known))
        for number in sorted({number for _, categories in known for number in categories.sets}):
            cells = []
            for stock, categories in known:
                there, wanted = (
                    sum(counts[label] for label, its_set in enumerate(categories.sets) if its_set == number)
                    for counts in (stock.clips_of_class, stock.all_of_class)
                )
                cells.append(f'{there} of {wanted}' if wanted else '')
            table.add_row(names.get(number, str(number)), *cells)
        console.print(table)
    for stock, categories in known:
        lost = [categories.classes[label] for label in sorted(stock.all_of_class.keys() - stock.clips_of_class.keys())]
        if lost and len(lost) < stock.classes:
            more = f', and {len(lost) - _NAMES} more' if len(lost) > _NAMES else ''
            print(f'{Path(stock.ann_file).name}: no clip of {"; ".join(lost[:_NAMES])}{more}')


def show_shared(stocks: list[Stock]) -> None:
    """Which source videos train and val lists have in common."""
    pairs = [(one, other) for one in stocks for other in stocks if 'train' in _name(one) and 'val' in _name(other)]
    for train, val in pairs:
        if _name(train).split('_')[0] == _name(val).split('_')[0]:
            videos, clips = shared_videos(train, val)
            total = len(val.present) + len(val.missing)
            print(
                f'{_name(train)} and {_name(val)} share {videos} source videos, from which '
                f'{clips} of {total} clips of the second are'
            )


def write_files(stocks: list[Stock], annotations: Path) -> None:
    """Lists of what is there, label maps, and how much is there of each class."""
    for stock in stocks:
        print(f'written: {write_available(stock)}')
    rows, maps = [], {}
    for stock in stocks:
        categories = categories_of(stock, annotations)
        if categories:
            maps[annotations / f'{_name(stock).split("_")[0]}_label_map.txt'] = categories.classes
        for label, wanted in sorted(stock.all_of_class.items()):
            named = (categories.sets[label], categories.classes[label]) if categories else ('', '')
            rows.append((_name(stock), label, *named, stock.clips_of_class[label], wanted))
    path = annotations / 'coverage.csv'
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(('list', 'label', 'set', 'class', 'clips', 'of'))
        writer.writerows(rows)
    print(f'written: {path}')
    for path, classes in maps.items():
        path.write_text(''.join(f'{name}\n' for name in classes), encoding='utf-8')
        print(f'written: {path}')


def best_folder(stocks: list[Stock], args: argparse.Namespace) -> tuple[str, int]:
    """The one folder to train from, with the most of what was found, and how much is elsewhere."""
    holders = Counter(os.path.dirname(file.path) for stock in stocks for file in stock.files.values())
    inside = {
        folder: {holder for holder in holders if is_below(holder, folder)} for folder in (args.root, args.videos) if folder
    }
    best = max(inside, key=lambda folder: sum(holders[holder] for holder in inside[folder]))
    elsewhere = sum(count for holder, count in holders.items() if holder not in inside[best])
    below = {folder_below(holder, best) for holder in inside[best]}
    return (below.pop() if best == args.root and len(below) == 1 else best), elsewhere


def next_command(stocks: list[Stock], args: argparse.Namespace) -> str:
    """What to type next."""
    stocks = [stock for stock in stocks if stock.present]
    if not stocks:
        return (
            f'Nothing is there yet. Download videos (named by their YouTube ids) or clips into {args.root} or a folder '
            'below it, and run this again.'
        )
    gym99 = any(_name(stock).startswith('gym99') for stock in stocks)
    config, name = ('configs/dsts_finegym.py', 'gym99') if gym99 else ('configs/dsts_finegym288.py', 'gym288')
    options = {}
    if os.path.normpath(args.root) != os.path.normpath('data/finegym'):
        options['data_root'] = f'{args.root.rstrip("/")}/'
    folder, elsewhere = best_folder(stocks, args)
    if os.path.normpath(folder) != os.path.normpath(os.path.join(args.root, 'clips')):
        options['clips'] = folder if os.sep in folder else os.path.join(os.curdir, folder)  # 2024 is no number
    for split, usual in (('train', f'{name}_train_element_v1.1.txt'), ('val', f'{name}_val_element.txt')):
        lists = [_name(stock) for stock in stocks if _name(stock).startswith(f'{name}_{split}')]
        if lists and usual not in lists:
            options[f'ann_file_{split}'] = os.path.join(args.root, 'annotations', lists[-1])
    extra = ''.join(f' {key}={shlex.quote(value)}' for key, value in options.items())
    note = f'\n({elsewhere} elements are elsewhere: a run reads one folder and those in it.)' if elsewhere else ''
    return f'Next: python tools/train.py {config}{" --cfg-options" if extra else ""}{extra}{note}'


def _name(stock: Stock) -> str:
    return Path(stock.ann_file).name


def main() -> None:
    """Do what the command line says."""
    args = parse_args()
    annotations = Path(args.root, 'annotations')
    lists = sorted(path for path in annotations.glob('gym*_element*.txt') if not path.stem.endswith('_available'))
    if not lists:
        raise cli.UsageError(
            f'{annotations} has no list gym*_element*.txt; get them from https://sdolivia.github.io/FineGym'
        )
    folders = [args.root, *([args.videos] if args.videos else [])]
    info = args.info or find_info(annotations)
    cutting = args.cut or (args.videos and args.info)
    for path, wanted in ((annotations, args.write), (Path(args.root, 'clips'), cutting)):
        if wanted:
            cli.check_work_dir(str(path), 'folder', '--root')
    try:
        stocks = take_stocks(lists, folders, {})
        broken = find_broken(own_files(stocks), args.jobs) if args.open else {}
        if broken:
            stocks = take_stocks(lists, folders, broken)
        if cutting:
            changed = cut_missing(stocks, info, args.root, args.jobs)
            broken = {path: fault for path, fault in broken.items() if path not in changed}
            broken.update(find_broken(changed, args.jobs) if args.open else {})
            stocks = take_stocks(lists, folders, broken)
        console = Console()
        show_lists(stocks, console)
        show_sets(stocks, annotations, console)
    except (ValueError, FileNotFoundError) as error:
        raise cli.UsageError(str(error)) from error

    found = {clip: file for stock in stocks for clip, file in stock.files.items()}
    print(f'Elements: {count_kinds(list(found.values()))}; temporal annotation: {info or "none"}')
    show_shared(stocks)
    if broken:
        print(f'{len(broken)} clips are there but cannot be decoded; the first: {next(iter(broken.values()))}')
    if args.write:
        write_files(stocks, annotations)
    print(next_command(stocks, args))


if __name__ == '__main__':
    cli.finish(main)
