"""The tests with other versions of Python, PyTorch, MMCV and MMAction2; run by hand, not by ``make test``.

``nox --list`` names the sessions, ``nox --session 'tests(py38-torch20)'`` runs one. Each needs its Python on the path
and installs a whole stack. What was run, and when, is in docs/versions.md.
"""

from __future__ import annotations

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
        'test_cli.py',
        'test_configs.py',
        'test_recipes.py',
        'test_variables.py',
    )
]
COMMON = ('mmengine==0.10.7', 'decord', 'einops', 'matplotlib', 'scipy', 'Pillow', 'pytest', 'pytest-xdist')
#: For what was compiled against numpy 1.
NUMPY_1 = ('numpy<2', 'opencv-contrib-python<4.12')
NEWEST = ('numpy', 'opencv-contrib-python', 'av')


@nox.session
@nox.parametrize(
    'python, torch, mmcv, mmaction2, companions',
    [
        nox.param('3.8', '2.0.1', 'mmcv-lite==2.1.0', '1.2.0', NUMPY_1, id='py38-torch20'),
        nox.param('3.8', '2.0.1', 'mmcv==2.0.1', '1.0.0', NUMPY_1, id='py38-torch20-mmaction10'),
        nox.param('3.9', '2.1.2', 'mmcv==2.1.0', '1.1.0', NUMPY_1, id='py39-torch21-mmaction11'),
        nox.param('3.10', '2.1.2', 'mmcv==2.1.0', '1.2.0', NUMPY_1, id='py310-torch21'),
        nox.param('3.11', '2.6.0', 'mmcv-lite==2.1.0', '1.1.0', NUMPY_1, id='py311-torch26-mmaction11'),
        nox.param('3.12', '2.6.0', 'mmcv-lite==2.1.0', '1.2.0', NUMPY_1, id='py312-torch26'),
        nox.param('3.13', '2.14.1', 'mmcv-lite==2.1.0', '1.2.0', NEWEST, id='py313-torch214'),
    ],
)
def tests(session: nox.Session, torch: str, mmcv: str, mmaction2: str, companions: tuple[str, ...]) -> None:
    """Run the tests that depend on the stack, or those named after ``--``, with one stack."""
    stack = [f'torch=={torch}', *companions, *COMMON, '-r', 'requirements/install.txt']
    if mmcv.startswith('mmcv-lite'):
        stack.append(mmcv)
    else:  # with compiled operators: MIM finds the wheel for this torch
        session.install(*stack, 'openmim')
        session.run('mim', 'install', mmcv)
    session.install(*stack, f'mmaction2=={mmaction2}')
    session.run(
        *('python', '-W', 'ignore', '-m', 'pytest', '-q', '-m', 'not slow', *(session.posargs or TESTS)),
        env={'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
    )
