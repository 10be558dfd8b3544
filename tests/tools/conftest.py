"""The run of seconds that tests of several files share."""

import pytest

from .tiny_run import TOOLS, run, write


@pytest.fixture(scope='session')
def config(tmp_path_factory):
    return write(tmp_path_factory.mktemp('run') / 'tiny')


@pytest.fixture(scope='session')
def trained(config):
    """A work dir after two epochs with seed 3."""
    work_dir = config.parent / 'trained'
    with pytest.MonkeyPatch.context() as patch:
        assert run(patch, TOOLS / 'train.py', config, '--work-dir', work_dir, '--seed', 3) == 0
    return work_dir
