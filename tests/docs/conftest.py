"""What the stories of several pages begin with."""

import pytest

from mmdsts.toygym import ToyGymSpec, generate


@pytest.fixture(scope='session')
def toygym(tmp_path_factory):
    """ToyGym with five clips a class."""
    folder = tmp_path_factory.mktemp('toygym') / 'toygym'
    generate(str(folder), ToyGymSpec(4, 1), 1)
    return folder
