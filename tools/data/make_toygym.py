"""Make ToyGym, the small procedural gymnastics set: videos and annotation files in FineGym's format."""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2

from mmdsts.toygym import ToyGymSpec, contact_sheet, generate


def parse_args() -> argparse.Namespace:
    """Options of the command line; the defaults are those of ToyGymSpec."""
    default = ToyGymSpec()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--out', default='data/toygym', help='folder to make')
    parser.add_argument('--clips-per-class', type=int, default=default.train_clips, help='training clips per class')
    parser.add_argument('--val-clips-per-class', type=int, default=default.val_clips, help='held-out clips per class')
    parser.add_argument('--difficulty', type=float, default=default.difficulty,
                        help='0 (large, clean, steady figure) to 1')
    parser.add_argument('--size', type=int, default=default.size, help='height and width in pixels, multiple of 32')
    parser.add_argument('--num-frames', type=int, default=default.num_frames, help='frames per clip')
    parser.add_argument('--seed', type=int, default=default.seed, help='same seed, same frames')
    parser.add_argument('--workers', type=int, default=2, help='processes that render')
    parser.add_argument('--overwrite', action='store_true', help='replace a ToyGym set of other parameters')
    parser.add_argument('--contact-sheet', metavar='PNG', help='also save a picture: a row a class, time to the right')
    return parser.parse_args()


def main() -> int:
    """Make the set; the result is the exit status."""
    args = parse_args()
    try:
        spec = ToyGymSpec(args.clips_per_class, args.val_clips_per_class, args.difficulty, args.size, args.num_frames,
                          args.seed)
        made = generate(args.out, spec, args.workers, args.overwrite)
    except (ValueError, FileExistsError) as error:
        print(f'make_toygym: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f'\nmake_toygym: interrupted; {args.out} was not touched, run again to make it', file=sys.stderr)
        return 130
    print(f'\n{args.out}: ' + ('made' if made else 'complete with these parameters, kept'))
    if args.contact_sheet:
        Path(args.contact_sheet).parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(args.contact_sheet, contact_sheet(spec)[..., ::-1]):
            print(f'make_toygym: cannot write {args.contact_sheet}; give a name that ends in .png', file=sys.stderr)
            return 2
        print(f'{args.contact_sheet}: contact sheet')
    return 0


if __name__ == '__main__':
    sys.exit(main())
