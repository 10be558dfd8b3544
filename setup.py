"""Build script and metadata of mmdsts (tool settings are in pyproject.toml)."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """Return the version without importing the package, whose requirements may not be installed yet."""
    scope = {}
    exec((ROOT / 'mmdsts' / 'version.py').read_text(encoding='utf-8'), scope)
    return scope['__version__']


def read_requirements(name: str) -> list:
    """Return the requirements in ``requirements/<name>.txt`` without comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in (line.split('#')[0].strip() for line in lines) if line]


def read_readme() -> str:
    """Return the long description, empty in a tree without README."""
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.is_file() else ''


setup(
    name='mmdsts',
    version=read_version(),
    description='Dynamic spatio-temporal specialization and upstream-downstream learning for MMAction2',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    keywords='action recognition, video understanding, fine-grained, MMAction2',
    packages=find_packages(include=['mmdsts', 'mmdsts.*']),
    # Said so that an editable install is a plain entry of sys.path. The import hook that setuptools takes otherwise
    # comes after the working directory, where a clone called mmdsts is an empty namespace package of that name.
    package_dir={'': '.'},
    # MIM looks for configs, tools and the model index in .mim. In the source tree that holds links to the
    # top-level folders; an archive gets the files themselves.
    package_data={'mmdsts': ['.mim/*.yml', '.mim/configs/**/*', '.mim/tools/**/*', 'analysis/specialization/*.j2']},
    exclude_package_data={'': ['*.py[co]', '*/__pycache__/*']},
    include_package_data=False,
    zip_safe=False,
    python_requires='>=3.8',
    install_requires=read_requirements('install'),
    extras_require={name: read_requirements(name) for name in ('deploy', 'docs', 'standalone', 'tests', 'video')},
)
