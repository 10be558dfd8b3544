"""Shared by all tests."""

import mmdsts  # noqa: F401, I001  its repairs come before any other import of MMAction2

import pytest
from mmengine.registry import init_default_scope


@pytest.fixture(autouse=True)
def _mmaction_scope():
    """Names in configs are looked up in MMAction2's registries, as in a runner."""
    init_default_scope('mmaction')
