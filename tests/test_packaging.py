"""What an installation holds and what it asks for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import mmdsts

ROOT = Path(__file__).resolve().parents[1]
MIM = 'mmdsts/.mim'
# What an existing set-up has and must keep.
KEPT = {
    'torch',
    'torchvision',
    'mmcv',
    'mmcv-lite',
    'mmengine',
    'mmaction2',
    'numpy',
    'opencv-python',
    'opencv-contrib-python',
    'opencv-python-headless',
    'decord',
}


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    """A copy of the source tree, for builds write into it."""
    pytest.importorskip('setuptools', minversion='62.3')
    copy = tmp_path_factory.mktemp('tree') / 'mmdsts'
    copy.mkdir()
    for name in ('mmdsts', 'benchmarks', 'configs', 'tools', 'requirements', 'tests'):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns('__pycache__'))
    for path in ROOT.iterdir():
        if path.is_file() and path.suffix in ('.py', '.toml', '.in', '.md', '.yml', ''):
            shutil.copy(path, copy)
    return copy


def build(tree, *args):
    done = subprocess.run([sys.executable, 'setup.py', '-q', *map(str, args)], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def source_files():
    """What MIM must find, as paths below the package's .mim folder."""
    tools_and_configs = [
        path
        for name in ('configs', 'tools')
        for path in (ROOT / name).rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    ]
    return {'model-index.yml', *(str(path.relative_to(ROOT)) for path in tools_and_configs)}


def test_source_tree_and_editable_install_have_what_mim_expects():
    mim = ROOT / MIM
    found = {
        str(path.relative_to(mim))
        for name in ('configs', 'tools')
        for path in (mim / name).rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }
    assert found | {'model-index.yml'} == source_files()
    assert (mim / 'tools' / 'train.py').is_file()


def test_wheel_has_what_mim_expects(tree, tmp_path):
    build(tree, 'build', '--build-base', tmp_path / 'base', '--build-lib', tmp_path / 'lib')
    mim = tmp_path / 'lib' / MIM
    assert {str(path.relative_to(mim)) for path in mim.rglob('*') if path.is_file()} == source_files()
    assert not any(path.is_symlink() for path in mim.rglob('*'))
    assert {path.name for path in (tmp_path / 'lib').iterdir()} == {'mmdsts'}
    templates = {path.relative_to(ROOT) for path in (ROOT / 'mmdsts').rglob('*.j2')}
    assert templates
    assert {path.relative_to(tmp_path / 'lib') for path in (tmp_path / 'lib').rglob('*.j2')} == templates
    # The benchmark stays in the repository, and its tool says so.
    done = subprocess.run([sys.executable, mim / 'tools' / 'benchmark.py'], capture_output=True, text=True)
    assert done.returncode == 2
    assert re.fullmatch(r'benchmark\.py: error: .* has no folder benchmarks, .* in a clone of .*\n', done.stderr)


def test_sdist_has_what_mim_and_a_build_need(tree, tmp_path):
    build(tree, 'sdist', '--dist-dir', tmp_path)
    with tarfile.open(next(tmp_path.glob('*.tar.gz'))) as archive:
        names = {name.split('/', 1)[1] for name in archive.getnames() if '/' in name}
    assert {f'{MIM}/{name}' for name in source_files()} <= names
    assert {'mmdsts/analysis/specialization/page.html.j2', 'benchmarks/suites/udl.py'} <= names
    assert {'LICENSE', 'setup.py', 'pyproject.toml', 'model-index.yml', 'requirements/install.txt'} <= names


def test_an_editable_install_is_found_beside_a_clone_called_like_the_package(tree, tmp_path):
    pytest.importorskip('setuptools', minversion='70.1')
    code = f'from setuptools import build_meta; print(build_meta.build_editable({str(tmp_path)!r}))'
    done = subprocess.run([sys.executable, '-c', code], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wheel, site = tmp_path / done.stdout.splitlines()[-1], tmp_path / 'site'
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # From the folder that holds the clone, as after `git clone ... mmdsts && pip install -e mmdsts`; -S leaves out what
    # is installed here.
    assert tree.name == 'mmdsts'
    code = f"""
import importlib.util, site
site.addsitedir({str(site)!r})
print(importlib.util.find_spec('mmdsts').origin)"""
    done = subprocess.run([sys.executable, '-S', '-E', '-c', code], cwd=tree.parent, capture_output=True, text=True)
    assert done.stdout.strip() == str(tree / 'mmdsts' / '__init__.py'), done.stderr


def requirements(name):
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    lines = [line.split('#')[0].strip() for line in lines]
    return {re.split(r'[<>=!~]', line)[0].lower(): line for line in lines if line}


def test_install_moves_nothing_of_an_existing_setup():
    assert not KEPT & set(requirements('install'))


def test_standalone_and_lock_are_exact_and_agree():
    lock, standalone = requirements('lock'), requirements('standalone')
    for line in [*lock.values(), *standalone.values()]:
        assert re.fullmatch(r'[\w.-]+==[\w.]+', line), f'{line}: no exact version'
    assert {name: line.lower() for name, line in standalone.items()}.items() <= {
        name: line.lower() for name, line in lock.items()
    }.items()
    assert set(requirements('tests')) | set(requirements('install')) <= set(lock)
    assert 'mmcv' not in lock  # it would be installed over mmcv-lite


def test_model_index_names_configs_that_exist_and_claims_no_result():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    collections = {entry['Name'] for entry in index['Collections']}
    assert index['Models']
    for model in index['Models']:
        assert (ROOT / model['Config']).is_file(), f'{model["Config"]} does not exist'
        assert model['In Collection'] in collections
        assert model['Results'] == []


def test_version_is_the_same_everywhere(tree):
    done = subprocess.run([sys.executable, 'setup.py', '--version'], cwd=tree, capture_output=True, text=True)
    assert done.stdout.split()[-1] == mmdsts.__version__


def test_sessions_of_nox_have_an_mmcv_that_their_mmaction_takes():
    sessions = re.findall(
        r"nox\.param\('.*', 'mmcv(?:-lite)?==(.*)', '(.*)', \w+, id=", (ROOT / 'noxfile.py').read_text()
    )
    assert len(sessions) > 5
    assert all(mmcv < '2.1' for mmcv, mmaction in sessions if mmaction < '1.2')  # 1.0 and 1.1 end at the import
    assert all('2.1' <= mmcv < '2.2' for mmcv, mmaction in sessions if mmaction == '1.2.0')
