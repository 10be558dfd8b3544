"""What a trained recognizer says about a video: ``python tools/demo.py VIDEO CONFIG CHECKPOINT``.

Prints the best classes with their scores and, for each layer of the DSTS neck, which neuron was active.
"""

from __future__ import annotations

import argparse

import torch

import mmdsts  # noqa: F401  registers everything, after its repairs
from mmdsts import cli
from mmdsts.analysis.demo import class_names, describe, load_recognizer, recognize
from mmdsts.analysis.demo_figure import check_output, draw_prediction
from mmdsts.datasets.video import check_video


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Recognize the action in a video')
    parser.add_argument('video', help='video file')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file or address')
    parser.add_argument(
        '--label',
        metavar='FILE',
        help='names of the classes: one a line, categories of FineGym '
        'or vocabulary of Diving48; default: those of the checkpoint or of the dataset',
    )
    parser.add_argument('--out', metavar='FILE', help='draw the prediction below the frames: .mp4, .gif, .png or .jpg')
    parser.add_argument('--topk', type=int, default=5, help='how many classes to print')
    parser.add_argument(
        '--device',
        type=cli.device,
        default='cuda:0' if torch.cuda.is_available() else 'cpu',
        help='where to run; default: %(default)s',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=cli.CfgOptions, metavar='KEY=VALUE', help='change the config'
    )
    args = parser.parse_args()
    if args.topk < 1:
        parser.error(f'argument --topk: {args.topk} is no positive number')
    return args


def main() -> None:
    """Recognize as the command line says."""
    args = parse_args()
    # Before the model is built, which takes longer.
    check_video(args.video)
    cli.check_checkpoint(args.checkpoint, 'checkpoint')
    if args.out:
        with cli.about('--out', args.out):
            check_output(args.out)
    cfg = cli.load_config(args.config)
    cli.merge_options(cfg, args.cfg_options)
    model = load_recognizer(cfg, args.checkpoint, args.device)
    with cli.about('--label', args.label):
        names = class_names(model, args.label)
    prediction = recognize(model, args.video, names, args.topk)
    print(describe(prediction))
    if args.out:
        with cli.about('--out', args.out):
            print(f'drawn: {draw_prediction(prediction, args.video, args.out)}')


if __name__ == '__main__':
    cli.finish(main)
