"""The tests with other versions of Python, PyTorch, MMCV and MMAction2; run by hand, not by ``make test``.

``nox --list`` names the sessions, ``nox --session 'tests(py38-torch20)'`` runs one. Each needs its Python on the path
and installs a whole stack. What was run, and when, is in docs/versions.md.
"""

from __future__ import annotations

import re
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
#: What depends on the stack; the rest of the tests is about files, texts and the repository itself.
TESTS = [
    f'tests/{name}'
    for name in (
        'models',
        'engine',
        'deployment',
        'compat',
        'evaluation',
        'analysis',
        'attachment',
        'test_cli.py',
        'test_configs.py',
        'test_doors.py',
        'test_recipes.py',
        'test_variables.py',
    )
]
COMMON = ('mmengine==0.10.7', 'decord', 'einops', 'matplotlib', 'scipy', 'Pillow', 'pytest', 'pytest-xdist')
#: For what was compiled against numpy 1.
NUMPY_1 = ('numpy<2', 'opencv-contrib-python<4.12')
NEWEST = ('numpy', 'opencv-contrib-python', 'av')
#: Backbones of other libraries.
TORCHVISION = (*NEWEST, 'torchvision==0.29.1', 'timm==1.0.29')


def install(session: nox.Session, torch: str, mmcv: str, mmaction2: str, companions: tuple[str, ...]) -> None:
    """Install a stack. MMCV comes with its operators, which are compiled here, unless it is ``mmcv-lite``."""
    stack = [f'torch=={torch}', *companions, *COMMON, '-r', 'requirements/install.txt']
    if not mmcv.startswith('mmcv-lite'):
        # Its build needs torch, and pkg_resources.
        session.install(*stack, 'setuptools<70', 'wheel', 'ninja')
        session.install('--no-build-isolation', mmcv, env={'MMCV_WITH_OPS': '1'})
    session.install(*stack, mmcv, f'mmaction2=={mmaction2}')


@nox.session
@nox.parametrize(
    'python, torch, mmcv, mmaction2, companions',
    [
        # MMAction2 1.0 and 1.1 refuse MMCV 2.1.
        nox.param('3.8', '2.0.1', 'mmcv-lite==2.1.0', '1.2.0', NUMPY_1, id='py38-torch20'),
        nox.param('3.8', '2.0.1', 'mmcv==2.0.1', '1.0.0', NUMPY_1, id='py38-torch20-mmaction10'),
        nox.param('3.8', '2.0.1', 'mmcv==2.0.1', '1.1.0', NUMPY_1, id='py38-torch20-mmaction11'),
        nox.param('3.9', '2.1.2', 'mmcv-lite==2.0.1', '1.1.0', NUMPY_1, id='py39-torch21-mmaction11'),
        nox.param('3.10', '2.1.2', 'mmcv==2.1.0', '1.2.0', NUMPY_1, id='py310-torch21'),
        nox.param('3.11', '2.6.0', 'mmcv-lite==2.0.1', '1.1.0', NUMPY_1, id='py311-torch26-mmaction11'),
        nox.param('3.11', '2.14.1', 'mmcv-lite==2.1.0', '1.2.0', TORCHVISION, id='py311-torchvision'),
        nox.param('3.12', '2.6.0', 'mmcv-lite==2.1.0', '1.2.0', NUMPY_1, id='py312-torch26'),
        nox.param('3.13', '2.14.1', 'mmcv-lite==2.1.0', '1.2.0', NEWEST, id='py313-torch214'),
    ],
)
def tests(session: nox.Session, torch: str, mmcv: str, mmaction2: str, companions: tuple[str, ...]) -> None:
    """Run the tests that depend on the stack, or those named after ``--``, with one stack."""
    install(session, torch, mmcv, mmaction2, companions)
    session.run(
        *('python', '-W', 'ignore', '-m', 'pytest', '-q', '-m', 'not slow', *(session.posargs or TESTS)),
        env={'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
    )


@nox.session(python='3.8')
def by_mim(session: nox.Session) -> None:
    """Install the wheel by MIM beside MMAction2 1.1 and a full MMCV, attach a stock config there, train and test it."""
    install(session, '2.0.1', 'mmcv==2.0.1', '1.1.0', NUMPY_1)
    session.install('openmim')
    folder = Path(session.create_tmp())
    session.run('pip', 'wheel', '--quiet', '--no-deps', '--wheel-dir', str(folder), str(ROOT))
    (wheel,) = folder.glob('mmdsts-*.whl')
    before = _freeze(session)
    session.run('mim', 'install', str(wheel))
    changed = sorted(before ^ _freeze(session))
    session.log(f'pip freeze, before and after: {changed}')
    if [re.split('[ =@]', line)[0] for line in changed] != ['mmdsts']:
        session.error('the installation changed more than mmdsts itself')

    session.chdir(folder)
    slowonly = 'mmaction::recognition/slowonly/slowonly_r50_8xb16-4x16x1-256e_kinetics400-rgb.py'
    session.run('mim', 'run', 'mmdsts', 'attach', slowonly, '-o', 'attached.py', '--hidden-channels', '16')
    make = ('make_toygym', '--out', 'toygym', '--clips-per-class', '1', '--val-clips-per-class', '1')
    session.run('mim', 'run', 'mmdsts', *make)
    options = ['--cfg-options', 'model.cls_head.num_classes=24', 'default_hooks.logger.interval=1']
    # Two iterations of UDL, and a test of ten clips and three crops.
    options += ['train_cfg.max_epochs=1', 'train_cfg.val_begin=2', 'default_hooks.checkpoint.interval=1']
    for part, split, videos in (('train', 'train', 4), ('val', 'val', 2), ('test', 'val', 1)):
        lines = Path('toygym', f'toygym_{split}.txt').read_text().splitlines()[:videos]
        Path(f'{part}.txt').write_text('\n'.join(line.replace(' ', '.mp4 ') for line in lines))
        loader = f'{part}_dataloader'
        options += [f'{loader}.num_workers=0', f'{loader}.persistent_workers=False', f'{loader}.batch_size=2']
        options += [f'{loader}.dataset.ann_file={part}.txt', f'{loader}.dataset.data_prefix.video=toygym/videos']
    run = ('mmdsts', 'attached.py', '--gpus', '0', *options)
    session.run('mim', 'train', *run, '--work-dir', 'run')
    session.run('mim', 'test', *run, '--checkpoint', 'run/epoch_1.pth')


def _freeze(session: nox.Session) -> set[str]:
    return set(session.run('pip', 'freeze', '--all', silent=True).splitlines())
