"""Check a FineGym download, write lists of the clips that are there, cut clips from downloaded videos.

Expects ``ROOT/annotations/gym*_element*.txt`` and ``ROOT/clips``. With ``--videos`` and ``--info``, clips that are
missing are first cut from the videos (named by YouTube id) at the times of FineGym's temporal annotation.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterable

from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

import mmdsts  # noqa: F401  its repairs come before any other import of MMAction2
from mmdsts import cli
from mmdsts.datasets.finegym_clips import Stock, cut_clip, find_video, read_windows, take_stock, write_available
from mmdsts.datasets.video import check_every_frame
from mmdsts.errors import ClipError


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Check and complete a FineGym download')
    parser.add_argument(
        '--root', default='data/finegym', help='folder of annotations/ and clips/; default: %(default)s'
    )
    parser.add_argument('--open', action='store_true', help='also decode each clip: one that cannot be decoded is missing')
    parser.add_argument('--write', action='store_true', help='write NAME_available.txt beside each list')
    parser.add_argument('--videos', help='folder of downloaded videos to cut missing clips from')
    parser.add_argument('--info', help='temporal annotation, finegym_annotation_info_v1.1.json; needed to cut')
    parser.add_argument('--jobs', type=int, default=4, help='clips to open or cut at the same time; default: %(default)s')
    args = parser.parse_args()
    if bool(args.videos) != bool(args.info):
        parser.error('--videos and --info go together')
    return args


def find_broken(clips: Iterable[Path], jobs: int) -> dict[str, str]:
    """Of some clips those that are there but cannot be decoded, and why."""

    def fault(path: str) -> str | None:
        try:
            check_every_frame(path)
        except ClipError as error:
            return str(error)
        return None

    paths = sorted(str(path) for path in clips if path.is_file() and path.stat().st_size > 0)
    with ThreadPoolExecutor(jobs) as pool:
        faults = list(track(pool.map(fault, paths), 'opening', total=len(paths)))
    return {path: fault for path, fault in zip(paths, faults) if fault}


def take_stocks(lists: list[Path], folder: str, broken: dict[str, str]) -> list[Stock]:
    """What is there of each list, but for the clips that are broken."""
    return [take_stock(str(path), folder, readable=lambda clip: clip not in broken) for path in lists]


def cut_missing(stocks: list[Stock], args: argparse.Namespace) -> list[Path]:
    """Cut what is missing in any list and can be cut; the clips that it tried."""
    windows = read_windows(args.info)
    if not Path(args.videos).is_dir():
        raise cli.UsageError(f'--videos {args.videos}: no such folder')
    clips = Path(args.root, 'clips')
    clips.mkdir(parents=True, exist_ok=True)
    missing = sorted({clip for stock in stocks for clip, _ in stock.missing})
    jobs = [(clip, find_video(args.videos, clip)) for clip in missing]
    ready = [(clip, video) for clip, video in jobs if video is not None and clip in windows]
    without_time = sum(clip not in windows for clip in missing)
    print(
        f'{len(missing)} clips are missing; {sum(video is None for _, video in jobs)} have no downloaded video, '
        f'{without_time} no time in {args.info}; cutting {len(ready)}'
    )

    def cut(job: tuple[str, str]) -> str | None:
        clip, video = job
        try:
            cut_clip(video, windows[clip], str(clips / f'{clip}.mp4'))
        except RuntimeError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(args.jobs) as pool:
        failures = [text for text in track(pool.map(cut, ready), 'cutting', total=len(ready)) if text]
    if failures:
        print(f'{len(failures)} clips could not be cut; the first: {failures[0]}')
    return [clips / f'{clip}.mp4' for clip, _ in ready]


def main() -> None:
    """Do what the command line says."""
    args = parse_args()
    annotations, folder = Path(args.root, 'annotations'), str(Path(args.root, 'clips'))
    lists = sorted(path for path in annotations.glob('gym*_element*.txt') if not path.stem.endswith('_available'))
    if not lists:
        raise cli.UsageError(
            f'{annotations} has no list gym*_element*.txt; get them from https://sdolivia.github.io/FineGym'
        )
    try:
        broken = find_broken(Path(folder).glob('*.mp4'), args.jobs) if args.open else {}
        stocks = take_stocks(lists, folder, broken)
        if args.videos:
            changed = cut_missing(stocks, args)
            for path in map(str, changed):
                broken.pop(path, None)
            broken.update(find_broken(changed, args.jobs) if args.open else {})
            stocks = take_stocks(lists, folder, broken)
    except (ValueError, FileNotFoundError) as error:
        raise cli.UsageError(str(error)) from error

    table = Table(Column('list', overflow='fold'), 'version', 'clips', 'classes', 'fewest of a class')
    for stock in stocks:
        counts = stock.clips_of_class
        fewest = min(counts.values()) if len(counts) == stock.classes else 0
        clips = f'{len(stock.present)} of {len(stock.present) + len(stock.missing)}'
        classes = f'{len(counts)} of {stock.classes}'
        table.add_row(Path(stock.ann_file).name, stock.version, clips, classes, str(fewest))
    Console().print(table)
    if broken:
        print(f'{len(broken)} clips are there but cannot be decoded; the first: {next(iter(broken.values()))}')
    for stock in stocks if args.write else ():
        print(f'written: {write_available(stock)}')


if __name__ == '__main__':
    cli.finish(main)
