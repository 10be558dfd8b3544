"""Shared by all tests."""

import mmdsts  # noqa: F401, I001  its repairs come before any other import of MMAction2

import pytest
from mmengine.registry import init_default_scope
from torch import nn

from mmdsts.models import SpecializedNeuron


@pytest.fixture(autouse=True)
def _mmaction_scope():
    """Names in configs are looked up in MMAction2's registries, as in a runner."""
    init_default_scope('mmaction')


@pytest.fixture(autouse=True)
def _neurons_that_differ(request, monkeypatch):
    """Neurons as after training: those of a new layer are alike, and a test would not see them mixed up.

    Tests of how a layer starts are marked ``new_neurons``.
    """
    if not request.node.get_closest_marker('new_neurons'):
        monkeypatch.setattr(SpecializedNeuron, 'start_like', _draw_score)


def _draw_score(self, other):
    nn.init.kaiming_normal_(self.score, nonlinearity='linear')
