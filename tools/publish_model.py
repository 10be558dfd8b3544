"""``python tools/publish_model.py IN.pth OUT.pth``: a checkpoint without what only training needs, named by hash."""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path

import mmaction

import mmdsts  # noqa: F401  its repairs: beside torch 2.6 and later MMAction2's tool alone reads no checkpoint of MMEngine
from mmdsts import cli

THEIRS = Path(mmaction.__file__).parent / '.mim' / 'tools' / 'deployment' / 'publish_model.py'


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='A checkpoint without optimizer, log and schedules, named by its hash')
    parser.add_argument('in_file', metavar='IN.pth', help='the checkpoint')
    parser.add_argument('out_file', metavar='OUT.pth', help='becomes OUT_DATE-HASH.pth')
    return parser.parse_args()


def main() -> None:
    """Publish with MMAction2's tool of the same name."""
    args = parse_args()
    cli.check_checkpoint(args.in_file, 'IN.pth')
    cli.check_writable(args.out_file, 'OUT.pth')
    runpy.run_path(str(THEIRS))['process_checkpoint'](args.in_file, args.out_file)


if __name__ == '__main__':
    cli.finish(main)
