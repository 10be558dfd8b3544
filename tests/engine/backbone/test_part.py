"""Which of the three ways a backbone takes part in, and that each gives the literal iteration."""

import pytest

from mmdsts.engine import UDLOptions
from mmdsts.engine.backbone import BackbonePart, take_part

from ..literal_udl import is_upstream
from ..test_optim_wrapper import build_wrapper, reference_error
from ..toy_recognizer import build_recognizer


def way(model, upstream_inside=False, forward_mode=True, **options):
    options = UDLOptions(**dict(dict(scope='full'), **options))
    u = {n: p for n, p in model.named_parameters() if is_upstream(n) or (upstream_inside and n.startswith('backbone'))}
    d = {n: p for n, p in model.named_parameters() if n not in u and p.requires_grad}
    if options.scope == 'neck':
        d = {n: p for n, p in d.items() if not n.startswith('backbone')}
    part = take_part(model, options, u, d, None, forward_mode)
    if part.features is not None:
        return 'leaves'
    return 'whole' if part == BackbonePart() else 'constant'


def test_which_way():
    model = build_recognizer()
    assert way(model, scope='neck') == way(model, scope='neck', method='finite_difference') == 'constant'
    assert way(model) == 'leaves'
    assert way(model, method='finite_difference') == way(model, forward_mode=False) == 'whole'
    assert way(model, backbone=None) == way(model, backbone='stem') == way(model, upstream_inside=True) == 'whole'
    model.backbone.requires_grad_(False)
    assert way(model) == way(model, method='finite_difference') == 'constant'


@pytest.mark.parametrize('udl', [dict(), dict(backbone=None)], ids=['shared', 'not shared'])
def test_frozen_backbone_with_scope_full(udl):
    model = build_recognizer()
    model.backbone.requires_grad_(False)
    assert reference_error(model, build_wrapper(model, udl=dict(scope='full', **udl)), scope='full') < 1e-13
    assert model.backbone.forwards == ([True, False] if not udl else [True] * 3)
