"""Build script of mmdsts."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """Return the version without importing the package (its requirements may not be installed yet)."""
    scope = {}
    exec((ROOT / 'mmdsts' / 'version.py').read_text(encoding='utf-8'), scope)
    return scope['__version__']


setup(
    name='mmdsts',
    version=read_version(),
    packages=find_packages(include=['mmdsts', 'mmdsts.*']),
    python_requires='>=3.8',
)
