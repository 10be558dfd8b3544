"""Measure what DSTS costs: ``python tools/benchmark.py --suite all --device cpu``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / 'benchmarks').is_dir():
    print(
        f'benchmark.py: error: {ROOT} has no folder benchmarks, which is not installed with mmdsts: run '
        "tools/benchmark.py in a clone of mmdsts' repository",
        file=sys.stderr,
    )
    sys.exit(2)
sys.path.insert(0, str(ROOT))

# ruff: noqa: E402
import torch

import mmdsts  # noqa: F401  registers everything, after its repairs
from benchmarks import SUITES, Settings
from benchmarks.report import console, machine, show_goals, show_rows, write_json
from mmdsts import cli


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Measure what DSTS costs')
    parser.add_argument(
        '--suite',
        nargs='+',
        choices=[*SUITES, 'all'],
        default=['all'],
        metavar='SUITE',
        help=f'of {", ".join(SUITES)}, all (default: all)',
    )
    parser.add_argument(
        '--device',
        type=cli.device,
        choices=['cpu', 'cuda'],
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='(default: %(default)s)',
    )
    parser.add_argument(
        '--dtype',
        choices=['float32', 'bfloat16', 'float16'],
        default='float32',
        help='operations run in it by autocast (default: %(default)s)',
    )
    parser.add_argument('--repeats', type=int, default=5, help='rounds of measurements (default: %(default)s)')
    parser.add_argument('--threads', type=int, help="CPU threads; default: PyTorch's choice")
    parser.add_argument('--out', metavar='FILE.json', help='also write all figures')
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error(f'argument --repeats: {args.repeats} is not a positive number')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('argument --device: PyTorch sees no GPU here')
    if args.out and not args.out.endswith('.json'):
        parser.error(f'argument --out: {args.out!r} must end in .json')
    return args


def main() -> None:
    """Measure as the command line says."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    settings = Settings(args.device, getattr(torch, args.dtype), args.repeats)
    console().print(', '.join(f'{key} {value}' for key, value in machine(settings).items()))
    rows, goals, begin = [], [], time.perf_counter()
    for name in SUITES if 'all' in args.suite else dict.fromkeys(args.suite):
        start = time.perf_counter()
        result = SUITES[name](settings)
        show_rows(name, result.rows, time.perf_counter() - start)
        rows += result.rows
        goals += result.goals
        if args.out:  # after each suite, so that an interruption loses only one
            Path(args.out).absolute().parent.mkdir(parents=True, exist_ok=True)
            write_json(args.out, settings, rows, goals)
    if goals:
        show_goals(goals)
    console().print(f'{time.perf_counter() - begin:.0f} s')


if __name__ == '__main__':
    cli.finish(main)
