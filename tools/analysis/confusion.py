"""Draw which classes a recognizer takes for which others, and the clips of the worst pairs as film strips.

``python tools/test.py CONFIG CHECKPOINT --dump predictions.pkl`` writes the predictions. Written are ``confusion.png``,
the matrix ordered by set, ``pairs.png`` and ``classes.csv``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmaction.registry import DATASETS
from mmengine.registry import DefaultScope

import mmdsts  # noqa: F401  its repairs come before any other import of MMAction2
from mmdsts import cli
from mmdsts.analysis.confusion.figures import Names, draw_confusion, draw_pairs
from mmdsts.analysis.confusion.predictions import Predictions, read_predictions
from mmdsts.analysis.specialization.report import make_folder
from mmdsts.datasets.parts import never_replace
from mmdsts.errors import CONFIG_MISTAKES, one_line
from mmdsts.evaluation.accuracy import fit_sets
from mmdsts.evaluation.confusion import confusion_matrix, most_confused, write_class_table


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('predictions', help='predictions that tools/test.py --dump wrote, .pkl')
    parser.add_argument('--out', metavar='DIR', help='folder to write; default: confusion, beside the predictions')
    parser.add_argument('--pairs', type=int, default=5, help='confused pairs to draw and name; default: %(default)s')
    parser.add_argument('--no-strips', action='store_true', help='decode no clip: the matrix and the table only')
    parser.add_argument(
        '--cfg-options', nargs='+', action=cli.CfgOptions, metavar='KEY=VALUE', help='change the config'
    )
    args = parser.parse_args()
    if args.pairs < 1:
        parser.error(f'argument --pairs: {args.pairs} is below 1')
    return args


def tested_dataset(cfg, predictions: Predictions):
    """The data set that was tested, whose clips are those of the predictions.

    Raises:
        UsageError: They are not.
    """
    loader = cfg.get('test_dataloader')
    if not loader:
        raise cli.UsageError(f'config {cfg.filename} has no test_dataloader')
    cli.check_data(cfg, ['test'])
    try:
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmaction'):
            dataset = DATASETS.build(loader.dataset)
    except CONFIG_MISTAKES as error:
        raise cli.UsageError(f'test_dataloader: {one_line(error)}') from error
    never_replace(dataset)
    labels = [dataset.get_data_info(i).get('label') for i in range(len(dataset))]
    if labels != predictions.labels.tolist():
        raise cli.UsageError(
            f'the predictions are of {len(predictions.labels)} clips and the test_dataloader of {cfg.filename} has '
            f'{len(labels)}' + (' with other labels' if len(labels) == len(predictions.labels) else '')
            + '; give the config that was tested'
        )  # fmt: skip
    return dataset


def main() -> None:
    """Draw as the command line says."""
    args = parse_args()
    cfg = cli.load_config(args.config)
    cli.merge_options(cfg, args.cfg_options)
    predictions = read_predictions(args.predictions)
    dataset = tested_dataset(cfg, predictions)
    out = args.out or Path(args.predictions).with_name('confusion')
    with cli.about('--out', out):
        out = make_folder(out)
    count = predictions.scores.shape[1]
    meta = dataset.metainfo
    classes = [*(meta.get('classes') or ())][:count]
    classes += [str(label) for label in range(len(classes), count)]
    sets = None if meta.get('class_sets') is None else fit_sets(meta['class_sets'], count)
    names = Names(classes, None if sets is None else sets.tolist(), meta.get('set_names') or {})
    confusion = confusion_matrix(predictions.labels, predictions.predicted, count)
    pairs = most_confused(confusion, args.pairs)

    write_class_table(str(out / 'classes.csv'), *predictions, classes, sets)
    draw_confusion(confusion, names).savefig(out / 'confusion.png', dpi=150)
    written = ['confusion.png', 'classes.csv']
    figure = None if args.no_strips or not pairs else draw_pairs(pairs, predictions, dataset, names)
    if figure is not None:
        figure.savefig(out / 'pairs.png', dpi=150)
        written.append('pairs.png')
    for pair in pairs:
        print(pair.describe(classes))
    print(f'{out}: {", ".join(written)}' + ('' if pairs else '; no class is taken for another'))


if __name__ == '__main__':
    cli.finish(main)
