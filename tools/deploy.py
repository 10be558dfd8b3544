"""Deploy a trained recognizer: ``python tools/deploy.py CONFIG CHECKPOINT OUT``."""

from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path

import torch
from mmaction.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader

import mmdsts  # registers everything, after its repairs
from mmdsts import cli
from mmdsts.deployment import ExportError, deployed_config, export_onnx, export_program, save_deployed
from mmdsts.deployment.check import answer, answer_of_file, compare
from mmdsts.engine.fit import load_exactly
from mmdsts.errors import CONFIG_MISTAKES, one_line

SUFFIXES = dict(pytorch='.pth', onnx='.onnx', export='.pt2')
# Largest difference of a class score that --check accepts.
TOLERANCE = 1e-4


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Deploy a recognizer with a DSTS neck: gates frozen, channels pruned, norms folded.'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file or address')
    parser.add_argument(
        'out',
        help='file to write; with .pth also a config of the same name is written, and tools/test.py takes the two',
    )
    parser.add_argument(
        '--format',
        choices=list(SUFFIXES),
        help='default: by the ending of OUT: ' + ', '.join(f'{suffix} {name}' for name, suffix in SUFFIXES.items()),
    )
    parser.add_argument(
        '--input-shape',
        type=int,
        nargs='+',
        metavar='N',
        help='shape of one packed sample, e.g. 1 3 8 224 224; default: that of the test set',
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='compare class scores and active neurons with the original, on samples of the '
        'test set (with --input-shape on random pixels); ends with status 1 if they differ',
    )
    parser.add_argument('--check-samples', type=int, default=5, help='how many (default: %(default)s)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=cli.CfgOptions, metavar='KEY=VALUE', help='change the config'
    )
    args = parser.parse_args()
    of_suffix = {suffix: name for name, suffix in SUFFIXES.items()}.get(Path(args.out).suffix)
    if of_suffix is None or args.format not in (None, of_suffix):
        parser.error(
            f'argument out: {args.out!r} must end in '
            + (SUFFIXES[args.format] if args.format else ', '.join(SUFFIXES.values()))
        )
    args.format = of_suffix
    return args


def load_model(cfg: Config, checkpoint: str) -> torch.nn.Module:
    """Build the recognizer and load all of its weights."""
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    try:
        model = MODELS.build(copy.deepcopy(cfg.model))
    except CONFIG_MISTAKES as error:
        raise cli.UsageError(f'config {cfg.filename}: {one_line(error)}') from error
    load_exactly(model, CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu'), checkpoint)
    return model.eval()


def sample_inputs(cfg: Config, count: int) -> torch.Tensor:
    """Packed inputs of samples spread over the test set."""
    cli.check_data(cfg, ['test'])
    if cfg.get('test_dataloader') is None:
        raise cli.UsageError(f'{cfg.filename} has no test_dataloader; give --input-shape')
    try:
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    except CONFIG_MISTAKES as error:
        raise cli.UsageError(f'config {cfg.filename}, test_dataloader: {one_line(error)}') from error
    step = max(len(dataset) // count, 1)
    return torch.stack([dataset[i]['inputs'] for i in range(0, min(step * count, len(dataset)), step)])


def write(model: torch.nn.Module, cfg: Config, args: argparse.Namespace, shape: tuple | None) -> None:
    """Write the deployed model in the wanted format."""
    if args.format == 'onnx':
        export_onnx(model, args.out, shape)
    elif args.format == 'export':
        torch.export.save(export_program(model, shape), args.out)
    else:
        deployed = mmdsts.deploy(model)
        save_deployed(args.out, deployed, cfg.model.to_dict())
        cfg.model = deployed_config(cfg.model.to_dict(), deployed)
        config = Path(args.out).with_suffix('.py')
        cfg.dump(str(config))
        print(f'{config}: config of the deployed model')


def main() -> None:
    """Deploy as the command line says."""
    args = parse_args()
    cfg = cli.load_config(args.config)
    cli.check_checkpoint(args.checkpoint, 'checkpoint')
    cli.merge_options(cfg, args.cfg_options)
    model = load_model(cfg, args.checkpoint)
    inputs = None
    if args.check or args.format != 'pytorch':
        shape = args.input_shape
        inputs = (
            torch.randint(256, (args.check_samples, *shape), dtype=torch.uint8)
            if shape
            else sample_inputs(cfg, args.check_samples)
        )
    Path(args.out).absolute().parent.mkdir(parents=True, exist_ok=True)
    try:
        write(model, cfg, args, inputs.shape[1:] if inputs is not None else None)
    except (ExportError, ValueError) as error:
        raise cli.UsageError(str(error)) from error
    print(f'{args.out}: {args.format}, {Path(args.out).stat().st_size / 2**20:.1f} MiB')
    if not args.check:
        return
    found = answer_of_file(args.out, args.format, inputs)
    difference, disagreeing, decisions = compare(answer(model, inputs), found)
    print(
        f'{len(inputs)} samples: class scores differ by at most {difference:.2g}, '
        f'{decisions - disagreeing} of {decisions} active neurons are the same'
    )
    if difference > TOLERANCE or disagreeing > 0:
        sys.exit(1)


if __name__ == '__main__':
    cli.finish(main)
