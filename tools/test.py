"""Test a recognizer: ``python tools/test.py CONFIG CHECKPOINT``. The options are MMAction2's."""

from __future__ import annotations

import argparse

import mmdsts  # noqa: F401  registers everything, after its repairs
from mmdsts import cli
from mmdsts.start import explained_start


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Test a recognizer')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file or address')
    cli.add_common_options(parser)
    parser.add_argument(
        '--no-strict',
        action='store_true',
        help='test although the checkpoint does not have all parameters of the model, or has others',
    )
    parser.add_argument('--dump', metavar='FILE.pkl', help='also write the predictions to a pickle file')
    parser.add_argument('--class-table', metavar='FILE.csv', help='also write accuracy and confusions of each class')
    parser.add_argument('--show-dir', help='folder for the frames with the predictions drawn in')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument('--interval', type=int, default=1, help='draw every n-th (default: %(default)s)')
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds each window stays open (default: %(default)s)'
    )
    args = parser.parse_args()
    if args.dump is not None and not args.dump.endswith(('.pkl', '.pickle')):
        parser.error(f'argument --dump: {args.dump!r} must end in .pkl or .pickle')
    if args.class_table is not None and not args.class_table.endswith('.csv'):
        parser.error(f'argument --class-table: {args.class_table!r} must end in .csv')
    if args.interval < 1:
        parser.error(f'argument --interval: {args.interval} is not a positive number')
    return args


def merge_args(cfg, args: argparse.Namespace) -> None:
    """Write the options into the config."""
    if args.show or args.show_dir is not None:
        hooks = cfg.setdefault('default_hooks', {})
        hooks.setdefault('visualization', {})
        if hooks['visualization'].get('type', 'VisualizationHook') == 'VisualizationHook':
            hooks['visualization']['type'] = 'ViewVisualizationHook'
        hooks['visualization'].update(
            enable=True, show=args.show, out_dir=args.show_dir, interval=args.interval, wait_time=args.wait_time
        )
    evaluators = cfg.get('test_evaluator') or []
    evaluators = list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]
    if args.class_table is not None:
        ours = next((each for each in evaluators if each.get('type') == 'ClassAccuracyMetric'), None)
        if ours is None:  # its figures beside those of the config's
            evaluators.append(ours := dict(type='ClassAccuracyMetric', prefix='classes'))
        ours['class_table'] = args.class_table
    if args.dump is not None:
        evaluators.append(dict(type='DumpResults', out_file_path=args.dump))
    if len(evaluators) > 1:
        cfg.test_evaluator = evaluators
    cli.apply_common_options(cfg, args)
    cfg.load_from = args.checkpoint


def main() -> None:
    """Test as the command line says."""
    args = parse_args()
    cfg = cli.load_config(args.config)
    cli.check_checkpoint(args.checkpoint, 'checkpoint')
    merge_args(cfg, args)
    cli.check_data(cfg, ['test'])
    cli.check_work_dir(cfg.work_dir)
    if args.class_table is not None:
        cli.check_writable(args.class_table, '--class-table')
    runner = cli.build_runner(cfg)
    if not args.no_strict:
        cli.check_fit(runner, args.checkpoint)
    with explained_start(runner, 'test'):
        runner.test()


if __name__ == '__main__':
    cli.finish(main)
