"""What is each part of DSTS good for, on your data? ``python tools/ablate.py CONFIG`` trains variants of a model in
pairs - from one start, on the same batches, with the same seeds - and says what they differ by, and how sure that is.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import fields
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import mmdsts  # registers everything, after its repairs
from mmdsts import cli
from mmdsts.analysis.ablation.configs import neck_of, require
from mmdsts.analysis.ablation.experiment import Failure, Job, RunError, exclusive, run_jobs
from mmdsts.analysis.ablation.extraction import backbone_weights, feature_file, fingerprint, recognizer_with_receiver
from mmdsts.analysis.ablation.frozen import OPTIMIZER
from mmdsts.analysis.ablation.frozen_runs import check_frozen, frozen_head, frozen_job, run_frozen
from mmdsts.analysis.ablation.full_runs import FullRuns, describe_experiment_data, full_job
from mmdsts.analysis.ablation.report import make_report, markdown, write_report
from mmdsts.analysis.ablation.store import Run, RunStore
from mmdsts.analysis.ablation.variants import GROUPS, NAMES, Variant, check_variant, find_variant, find_variants
from mmdsts.analysis.control import ControlSpec, control_config, control_files
from mmdsts.engine.update_config import with_update

TOOLS = Path(__file__).resolve().parent

DESCRIPTION = """\
What is each part of DSTS good for, on your data? Trains variants of the model in CONFIG in pairs - from one start, on
the same batches, with the same seeds - and writes a table of their differences with 95 % intervals over seeds and
test clips, and a picture. It gives no ranking where the baseline's own seeds differ by more than the variants.

Interrupt it and run it again: finished runs are kept, unfinished trainings go on. More seeds or variants only add
runs; other settings or other code make new ones. Each run adds a line to WORK_DIR/runs.csv as soon as it ends."""

EPILOG = f"""\
variants: {', '.join(NAMES)};
  arguments of the neck, as N=4, L=1, pulse=sum or L=1,gate_std=0.5; with +udl at the end it trains by UDL;
  groups: {', '.join(GROUPS)}

examples:
  # The main question in minutes, on features of a trained backbone:
  python tools/ablate.py configs/dsts_toygym.py --checkpoint backbone.pth --frozen --seeds 10 --jobs 2
  # The whole model, against two baselines:
  python tools/ablate.py configs/dsts_toygym.py --checkpoint backbone.pth --seeds 5 --baseline static parameter_twin
  # What DSTS gains where the premise of the paper holds, on features made for it:
  python tools/ablate.py --control --variants main two_operators
  python tools/ablate.py --control groups=12 channels=32 noise=0.7 --seeds 3
  # Which pulse, and how many neurons:
  python tools/ablate.py configs/dsts_toygym.py --frozen --variants dsts pulses N=2 N=4 N=12 --baseline dsts"""


def positive(text: str) -> int:
    """Argument type: an integer of at least one."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is not a positive number')
    return value


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', metavar='CONFIG', nargs='?', help='config of a recognizer with a DSTSNeck')
    parser.add_argument(
        '--control',
        nargs='*',
        action=cli.CfgOptions,
        metavar='KEY=VALUE',
        help='in the place of '
        "CONFIG: features made to the paper's premise, on which specialization must show; with "
        f'{", ".join(f.name for f in fields(ControlSpec))} and train, test (samples) to change them',
    )
    parser.add_argument(
        '--checkpoint',
        metavar='FILE',
        help='trained backbone that all variants start from; default: '
        'one is trained by the config without a neck, once, in WORK_DIR/start',
    )
    parser.add_argument(
        '--frozen',
        action='store_true',
        help="train neck and head on the backbone's features, which "
        'are computed once: seconds a run instead of minutes or hours',
    )
    parser.add_argument(
        '--variants',
        nargs='+',
        default=['main'],
        metavar='NAME',
        help='variants and groups of them, see below (default: main)',
    )
    parser.add_argument(
        '--baseline',
        nargs='+',
        metavar='NAME',
        help='variants that the others are compared with, a table each; they are run too (default: static)',
        default=['static'],
    )
    parser.add_argument(
        '--seeds',
        type=positive,
        default=5,
        metavar='S',
        help='runs of each variant, with seeds 0 to S - 1 (default: %(default)s)',
    )
    parser.add_argument(
        '--jobs', type=positive, default=1, metavar='J', help='runs side by side (default: %(default)s)'
    )
    parser.add_argument(
        '--work-dir', metavar='DIR', help='default: work_dirs/ablate_<name of the config>, with --frozen and _frozen'
    )
    parser.add_argument(
        '--neck',
        nargs='+',
        action=cli.CfgOptions,
        metavar='KEY=VALUE',
        help='arguments of the '
        'DSTSNeck, for a config without one or to change it, e.g. in_channels=2048 hidden_channels=256',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=cli.CfgOptions,
        metavar='KEY=VALUE',
        help='change the config for all variants, e.g. optim_wrapper.udl.direct_term=True',
    )
    frozen = parser.add_argument_group('with --frozen')
    frozen.add_argument('--epochs', type=positive, default=30, help='(default: %(default)s)')
    frozen.add_argument('--batch-size', type=positive, default=32, help='(default: %(default)s)')
    frozen.add_argument(
        '--lr',
        type=float,
        default=OPTIMIZER['lr'],
        help="AdamW's, falling to zero along half a cosine (default: %(default)s)",
    )
    frozen.add_argument(
        '--augmented-passes',
        type=int,
        default=0,
        metavar='K',
        help='features of K passes through the '
        'training pipeline, with its noise, instead of one through that of the test; an epoch is K '
        'times as long',
    )
    frozen.add_argument(
        '--device',
        type=cli.device,
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='(default: %(default)s)',
    )
    args = parser.parse_args()
    if (args.config is None) == (args.control is None):
        parser.error('expected one of CONFIG and --control')
    if args.control is not None and (args.checkpoint or args.augmented_passes):
        parser.error('--control takes no --checkpoint and no --augmented-passes: it has no backbone')
    if not 0 < args.lr < math.inf:
        parser.error(f'argument --lr: {args.lr} is not a positive number')
    if args.augmented_passes < 0:
        parser.error(f'argument --augmented-passes: {args.augmented_passes} is negative')
    args.frozen = args.frozen or args.control is not None
    for name in () if args.frozen else ('epochs', 'batch_size', 'lr', 'augmented_passes', 'device'):
        if getattr(args, name) != parser.get_default(name):
            option = f'--{name.replace("_", "-")}'
            parser.error(f'argument {option}: only with --frozen; the whole model trains as its config says')
    args.baseline = list(dict.fromkeys(args.baseline))
    return args


def read_config(args: argparse.Namespace) -> Config:
    """The config with the options of the command line, and a neck."""
    cfg = cli.load_config(args.config) if args.control is None else control_config(read_control(args.control)[0])
    cli.merge_options(cfg, args.cfg_options)
    if args.neck:
        cfg.model.neck = {'type': 'DSTSNeck', **(cfg.model.get('neck') or {}), **args.neck}
    return cfg


def read_control(options: dict) -> tuple[ControlSpec, dict[str, int]]:
    """The control of the command line, and its numbers of samples."""
    options = dict(options)
    sizes = {name: options.pop(name) for name in ('train', 'test') if name in options}
    known = [field.name for field in fields(ControlSpec)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise cli.UsageError(
            f'--control: unknown {", ".join(unknown)}; expected some of {", ".join(known)}, train, test'
        )
    if isinstance(options.get('size'), list):
        options['size'] = tuple(options['size'])
    try:
        spec = ControlSpec(**options)
    except ValueError as error:
        raise cli.UsageError(f'--control: {error}') from error
    if not all(isinstance(n, int) and n > 0 for n in sizes.values()):
        raise cli.UsageError(f'--control: train and test must be numbers of samples, got {sizes}')
    return spec, sizes


def choose_variants(args: argparse.Namespace, neck: dict) -> list[Variant]:
    """The variants of the command line, with the baselines among them, each of which can be built."""
    check_variant(find_variant('dsts', neck))  # the others are made from it
    with cli.about('--variants', args.variants):
        variants = find_variants(args.variants, neck)
    known = {variant.name for variant in variants}
    with cli.about('--baseline', args.baseline):
        baselines = [find_variant(name, neck) for name in args.baseline if name not in known]
    if len(baselines) + len(variants) < 2:
        raise cli.UsageError(f'--variants {" ".join(args.variants)}: nothing to compare with the baseline, the same')
    for variant in [*baselines, *variants]:
        check_variant(variant)
    return [*baselines, *variants]


def progress(console: Console) -> Progress:
    """Bars with numbers and times."""
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def start_checkpoint(args: argparse.Namespace, cfg: Config, folder: Path, console: Console) -> str:
    """The checkpoint that all variants start from; trains it if none was given."""
    if args.checkpoint is None:
        neck = neck_of(cfg)
        job = full_job(
            cfg,
            find_variant('backbone', neck),
            0,
            cfg.get('load_from'),
            str(cfg.get('load_from')),
            describe_experiment_data(cfg),
            folder,
            TOOLS,
        )
        job = job._replace(task=job.task._replace(folder=str((folder / 'start').absolute())))
        runs = FullRuns()
        try:
            with console.status(f'start: the backbone alone trains in {job.task.folder}'):
                checkpoint = runs.train(job)
        except RunError as error:
            raise cli.UsageError(f'start: {error}') from error
        except BaseException:
            runs.stop()
            raise
        console.print(f'start: the backbone alone, {checkpoint}', soft_wrap=True)
    else:
        checkpoint = args.checkpoint
    recognizer_with_receiver(cfg, backbone_weights(checkpoint), checkpoint)  # or a usage error
    return checkpoint


def extracted(args: argparse.Namespace, cfg: Config, checkpoint: str, console: Console) -> list[Path]:
    """Files of the backbone's features of the training and of the test clips."""
    files = []
    for split, passes in (('train', args.augmented_passes), ('test', 0)):
        with progress(console) as bars:
            bar = bars.add_task(f'features, {split}', total=None)
            files.append(
                feature_file(
                    cfg,
                    checkpoint,
                    split,
                    augmented_passes=passes,
                    device=args.device,
                    on_progress=lambda done, total, bars=bars, bar=bar: bars.update(bar, completed=done, total=total),
                )
            )
    return files


def frozen_jobs(
    args: argparse.Namespace, cfg: Config, variants: list[Variant], files: list[Path], console: Console
) -> list[Job]:
    """Runs on features in files."""
    head, own = frozen_head(cfg, files[1])
    if not own:
        console.print(
            "the config's head does not take the features that the neck does, (B, C, T, H, W): a linear layer on their "
            'mean is in its place',
            soft_wrap=True,
        )
    udl = with_update(dict(udl=(cfg.get('optim_wrapper') or {}).get('udl') or {}), True)
    optimizer = dict(OPTIMIZER, lr=args.lr)
    return [
        frozen_job(
            variant,
            seed,
            *files,
            cls_head=head,
            epochs=args.epochs,
            batch_size=args.batch_size,
            device=args.device,
            optim_wrapper=dict(udl if variant.udl else dict(type='OptimWrapper'), optimizer=optimizer),
        )
        for seed in range(args.seeds)
        for variant in variants
    ]


def full_jobs(
    args: argparse.Namespace, cfg: Config, variants: list[Variant], checkpoint: str, folder: Path
) -> list[Job]:
    """Runs of the whole recognizer."""
    data = describe_experiment_data(cfg)
    key = fingerprint(backbone_weights(checkpoint))
    return [
        full_job(cfg, variant, seed, str(Path(checkpoint).absolute()), key, data, folder, TOOLS)
        for seed in range(args.seeds)
        for variant in variants
    ]


def make_jobs(
    args: argparse.Namespace, cfg: Config, variants: list[Variant], folder: Path, console: Console
) -> tuple[list[Job], str]:
    """The runs, and what they start from."""
    if args.control is not None:
        spec, sizes = read_control(args.control)
        return frozen_jobs(args, cfg, variants, control_files(spec, folder, **sizes), console), 'none, made features'
    checkpoint = start_checkpoint(args, cfg, folder, console)
    if args.frozen:
        return frozen_jobs(args, cfg, variants, extracted(args, cfg, checkpoint, console), console), checkpoint
    return full_jobs(args, cfg, variants, checkpoint, folder), checkpoint


def run(jobs: list[Job], store: RunStore, args: argparse.Namespace, console: Console) -> list[Failure]:
    """Make the runs, with a bar and a line for each that ends."""
    left = [job for job in jobs if store.find(job.key) is None]
    if len(left) < len(jobs):
        console.print(f'{len(jobs) - len(left)} of {len(jobs)} runs were made before', soft_wrap=True)
    with progress(console) as bars:
        bar = bars.add_task('runs', total=len(left))

        def show(job: Job, result: Run | Failure) -> None:
            said = (
                f'failed: {result.reason}'
                if isinstance(result, Failure)
                else f'{100 * result.accuracy:.1f} % ({result.seconds:.0f} s)'
            )
            bars.console.print(f'{job.variant}, seed {job.seed}: {said}', soft_wrap=True)
            bars.advance(bar)

        options = dict(workers=args.jobs, processes=args.frozen, on_end=show)
        if args.frozen:
            return run_jobs(left, store, run_frozen, **options)
        runs = FullRuns()
        try:
            return run_jobs(left, store, runs, **options)
        except BaseException:
            runs.stop()
            raise


def main() -> None:
    """Run the experiment that the command line describes."""
    args = parse_args()
    console = Console(highlight=False)
    cfg = read_config(args)
    init_default_scope(cfg.get('default_scope') or 'mmaction')
    variants = choose_variants(args, neck_of(cfg))
    require(cfg, 'model.cls_head')
    if args.checkpoint is not None:
        cli.check_checkpoint(args.checkpoint, '--checkpoint')
    if args.control is None:
        cli.check_data(cfg, ['train', 'test'])
        name = f'ablate_{Path(args.config).stem}' + '_frozen' * args.frozen
    else:
        name = 'control'
    folder = Path(args.work_dir or Path('work_dirs') / name)
    cli.check_work_dir(str(folder))
    with exclusive(folder):
        store = RunStore(folder)
        jobs, start = make_jobs(args, cfg, variants, folder, console)
        if args.frozen:
            check_frozen([job for job in jobs if store.find(job.key) is None])
        try:
            failures = run(jobs, store, args, console)
        finally:  # also of what an interrupted experiment has so far
            report(jobs, store, args, variants, start, console)
    if failures:
        names = '; '.join(f'{failure.job.variant}, seed {failure.job.seed}' for failure in failures)
        sys.exit(f'ablate.py: {len(failures)} of {len(jobs)} runs failed: {names}. Run again to try them again.')


def report(
    jobs: list[Job], store: RunStore, args: argparse.Namespace, variants: list[Variant], start: str, console: Console
) -> None:
    """Print and write what the runs that are there say."""
    results: dict[str, dict] = {}
    for job in jobs:
        found = store.find(job.key)
        if found is not None:
            results.setdefault(job.variant, {})[job.seed] = (found, store.clips(found))
    titles = {variant.name: variant.title for variant in variants}
    baselines = [name for name in args.baseline if name in results]
    if not baselines or len(results) < 2:
        console.print('no table: it needs a run of a baseline and one of another variant', soft_wrap=True)
        return
    reports = [make_report(titles, results, name) for name in baselines]
    subject = args.config or ' '.join(['--control', *(f'{key}={value}' for key, value in args.control.items())])
    how = (
        f'frozen features, {args.epochs} epochs, batch {args.batch_size}, AdamW {args.lr:g}'
        if args.frozen
        else 'whole model'
    )
    title = (
        f'# {subject}: {how}\n\nStart: `{start}`; seeds 0 to {args.seeds - 1}; torch '
        f'{torch.__version__}, mmdsts {mmdsts.__version__}.\n'
    )
    for made in reports:
        console.rule(f'against: {made.baseline}')
        console.print(markdown(made), soft_wrap=True, markup=False)
    for path in write_report(reports, title, store.folder):
        console.print(f'written: {path}', soft_wrap=True)


if __name__ == '__main__':
    cli.finish(main)
