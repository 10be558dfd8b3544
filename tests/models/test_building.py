"""Models that are built to be looked at."""

from __future__ import annotations

import logging

from mmengine.logging import MMLogger

from mmdsts.models.building import quietly, without_weights


def test_quietly_is_quiet_inside_and_only_there(caplog):
    """Whatever MMEngine's logger was asked before: it remembers what is enabled."""
    logger = MMLogger.get_instance('building', log_level='INFO')
    logger.addHandler(caplog.handler)
    logger.info('before')
    with quietly():
        logger.info('inside')
        logger.warning('a warning')
    logger.info('after')
    assert caplog.messages == ['before', 'a warning', 'after']
    assert logging.root.manager.disable == logging.NOTSET


def test_weights_are_left_out_at_any_depth():
    model = dict(backbone=dict(type='A', pretrained='file', weights=True), heads=[dict(pretrained=True, size=3)])
    assert without_weights(model) == dict(
        backbone=dict(type='A', pretrained=None, weights=False), heads=[dict(pretrained=False, size=3)]
    )
