"""Train a recognizer: ``python tools/train.py CONFIG``. The options are those of MMAction2's own tool."""

from __future__ import annotations

import argparse

from mmengine.device import get_device

import mmdsts  # noqa: F401  registers everything, after its repairs
from mmdsts import cli
from mmdsts.start import explained_start


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Train a recognizer')
    parser.add_argument('config', help='config file')
    cli.add_common_options(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint; without a value, from the latest in the work dir',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate during training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by actual batch size / auto_scale_lr.base_batch_size',
    )
    parser.add_argument('--seed', type=int, help='random seed; defaults to that of the config, else random')
    parser.add_argument('--diff-rank-seed', action='store_true', help='another seed in each process')
    parser.add_argument('--deterministic', action='store_true', help='deterministic cuDNN kernels')
    return parser.parse_args()


def enable_amp(cfg) -> None:
    """Switch the optimizer wrapper to mixed precision."""
    wrapper = cfg.optim_wrapper
    kind = wrapper.get('type', 'OptimWrapper')
    name = kind if isinstance(kind, str) else kind.__name__
    if name in ('OptimWrapper', 'AmpOptimWrapper'):
        if get_device() in ('cpu', 'mps'):
            raise cli.UsageError(
                f'--amp: {name} needs a GPU for mixed precision, and none is available. Leave --amp out.'
            )
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
    elif name == 'UDLOptimWrapper':
        wrapper.setdefault('amp', dict(dtype='bfloat16'))
    else:
        raise cli.UsageError(
            f'--amp: optim_wrapper.type is {name!r}; expected OptimWrapper, AmpOptimWrapper '
            'or UDLOptimWrapper. Leave --amp out and set mixed precision in the config.'
        )


def resume(cfg, checkpoint: str) -> None:
    """Go on from a checkpoint, or from the newest one; with none there yet, begin as the config says."""
    cfg.resume = True
    if checkpoint != 'auto':
        cfg.load_from = checkpoint
        return
    if (cfg.default_hooks.get('checkpoint') or {}).get('type') == 'DurableCheckpointHook':
        cfg.default_hooks.checkpoint.load_from = cfg.get('load_from')
    cfg.load_from = None


def merge_args(cfg, args: argparse.Namespace) -> None:
    """Write the options into the config."""
    cli.use_durable_hooks(cfg)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        enable_amp(cfg)
    if args.auto_scale_lr:
        if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
            raise cli.UsageError(
                f'--auto-scale-lr: config {args.config} does not say for which batch size '
                'its learning rate is meant. Add auto_scale_lr = dict(base_batch_size=...).'
            )
        cfg.auto_scale_lr.enable = True
    given = dict(seed=args.seed, diff_rank_seed=args.diff_rank_seed or None, deterministic=args.deterministic or None)
    given = {name: value for name, value in given.items() if value is not None}
    cfg.randomness = {**(cfg.get('randomness') or dict(seed=None)), **given}
    cli.apply_common_options(cfg, args)
    # After --cfg-options, whose load_from is where a run begins, not what a later one goes on from.
    if args.resume is not None:
        resume(cfg, args.resume)


def main() -> None:
    """Train as the command line says."""
    args = parse_args()
    cfg = cli.load_config(args.config)
    if args.resume not in (None, 'auto'):
        cli.check_checkpoint(args.resume, '--resume')
    merge_args(cfg, args)
    cli.check_data(cfg, ['train', 'val'])
    cli.check_work_dir(cfg.work_dir)
    runner = cli.build_runner(cfg)
    with explained_start(runner, 'train'):
        cli.train(runner)


if __name__ == '__main__':
    cli.finish(main)
