"""Shared by all tests."""

import os

# Models of tests are small: threads gain nothing, and on a busy machine they wait for each other, many times longer
# than the work takes. Set before torch is imported, and for the processes that tests start.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import mmdsts  # noqa: F401, I001  its repairs come before any other import of MMAction2

import pytest
from mmengine.registry import init_default_scope

from mmdsts.models import SpecializedNeuron

from .neurons import start_differently


@pytest.fixture(autouse=True)
def _mmaction_scope():
    """Names in configs are looked up in MMAction2's registries, as in a runner."""
    init_default_scope('mmaction')


@pytest.fixture(autouse=True)
def _neurons_that_differ(request, monkeypatch):
    """Neurons as after training. Tests of how a layer starts, and those that share a training between them or with
    processes of their own, which this does not reach, are marked ``new_neurons``.
    """
    if not request.node.get_closest_marker('new_neurons'):
        monkeypatch.setattr(SpecializedNeuron, 'start_like', start_differently)
