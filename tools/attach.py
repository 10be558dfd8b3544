"""Write the DSTS and UDL counterpart of a config of MMAction2: ``python tools/attach.py CONFIG``."""

from __future__ import annotations

import argparse
from pathlib import Path

import mmdsts  # noqa: F401  registers everything, after its repairs
from mmdsts import cli
from mmdsts.attachment import Options, config_text, decide
from mmdsts.attachment.config import changes, read, trains
from mmdsts.attachment.text import base_of


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    default = Options()
    parser = argparse.ArgumentParser(
        description='Write a config that inherits from CONFIG and trains it with a DSTS neck, by UDL. Nothing is '
        'downloaded, and no data are needed: the model is run on shapes alone to find what the neck needs.'
    )
    parser.add_argument('config', help="config file of a recognizer, or one of MMAction2's: mmaction::PATH")
    parser.add_argument(
        '-o', '--out', help='file to write; default: dsts_<name of the config>.py in the working directory'
    )
    parser.add_argument('--layers', type=int, default=default.num_layers, metavar='L', help='(default: %(default)s)')
    parser.add_argument(
        '--neurons', type=int, default=default.num_neurons, metavar='N', help='of a layer (default: %(default)s)'
    )
    width = parser.add_mutually_exclusive_group()
    width.add_argument(
        '--hidden-channels',
        type=int,
        metavar='C',
        help='width of the layers; default: the widest, in steps of 8, that keeps to --max-share',
    )
    width.add_argument(
        '--max-share',
        type=float,
        default=default.max_share,
        metavar='SHARE',
        help='largest share of the neck in all parameters (default: %(default)s)',
    )
    parser.add_argument(
        '--pooled',
        action='store_true',
        help='take features that the backbone has pooled, (B, C), as maps of one place and one time',
    )
    parser.add_argument('--no-udl', action='store_true', help="keep the config's own update")
    return parser.parse_args()


def read_config(name: str):
    """The config of the command line."""
    if '::' not in name:
        return cli.load_config(name)
    try:
        return read(name)
    except cli.UsageError:
        raise
    except Exception as error:  # a config is Python code: anything can come out of it
        raise cli.UsageError(f'config {name}: {type(error).__name__}: {" ".join(str(error).split())}') from error


def check_new(out: Path) -> None:
    """Refuse a file to write that is none, or that is there."""
    if out.is_dir():
        raise cli.UsageError(f'--out {out} is a folder, expected a file in it: {out / "NAME.py"}')
    if out.suffix != '.py':
        raise cli.UsageError(f'--out {out}: what is written is Python, expected a name that ends in .py')
    if out.exists():
        raise cli.UsageError(f'--out {out} exists already, and is left as it is. Remove it, or give another file')


def main() -> None:
    """Look at the config and write its counterpart."""
    args = parse_args()
    try:
        options = Options(
            num_layers=args.layers,
            num_neurons=args.neurons,
            hidden_channels=args.hidden_channels,
            max_share=args.max_share,
            pooled=args.pooled,
            udl=not args.no_udl,
        )
    except ValueError as error:
        option = str(error).replace('num_', '').replace('_', '-')
        raise cli.UsageError(f'--{option}') from error
    cfg = read_config(args.config)
    out = Path(args.out or f'dsts_{Path(cfg.filename).stem}.py')
    check_new(out)
    attachment = decide(cfg, options)
    changed = changes(cfg, attachment, options.udl)
    said = f'{attachment.found} {attachment.chosen}'
    if options.udl and not trains(cfg):
        said += ' The config does not train, so nothing is said of the update.'
    text = config_text(base_of(cfg.filename, out), said, changed)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding='utf-8')
    except OSError as error:
        raise cli.UsageError(f'--out {out}: cannot be written ({error.strerror})') from error
    try:
        cli.load_config(str(out))
    except cli.UsageError as error:
        out.unlink()
        raise cli.UsageError(
            f'config {args.config}: nothing is written, since a file that inherits from it by _base_ cannot be read '
            f'({error}). In Python, mmdsts.attach({args.config!r}) gives the whole config'
        ) from error
    print(f'{said}\nwritten: {out}')


if __name__ == '__main__':
    cli.finish(main)
