"""Against PyTorch's own forward-mode derivative of batch norm."""
import pytest
import torch
import torch.nn.functional as F
from torch.autograd import forward_ad

from mmdsts.engine import forward_batch_norm
from mmdsts.engine.forward_batch_norm import SymmetricBatchNorm

SHAPES = {'1d': (5, 4), '2d': (3, 4, 5, 6), '3d': (2, 4, 3, 5, 6)}


def tangent(norm, x, along, statistics, stand_in):
    """``norm``: (weight, its tangent, bias, its tangent), each may be None."""
    def dual(value, direction):
        return value if direction is None else forward_ad.make_dual(value, direction)

    statistics = [t.clone() for t in statistics]
    weight, weight_along, bias, bias_along = norm
    with torch.no_grad(), forward_ad.dual_level():
        arguments = (dual(x, along), *statistics, dual(weight, weight_along), dual(bias, bias_along), True, 0.3)
        if stand_in:
            with SymmetricBatchNorm():
                out = F.batch_norm(*arguments)
        else:
            out = F.batch_norm(*arguments)
        # In place, as ReLU mostly is.
        out.clamp_(min=0)
        value, direction = forward_ad.unpack_dual(out)
        return value, direction, *statistics


@pytest.mark.parametrize('memory_format', ['contiguous', 'channels last', 'strided'])
@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('affine', ['none', 'fixed', 'weight moves', 'bias moves', 'both move', 'zero weight'])
def test_equals_pytorchs_own(affine, shape, memory_format):
    torch.manual_seed(0)
    x, along = (torch.randn(SHAPES[shape], dtype=torch.float64) + 3 for _ in range(2))
    if memory_format == 'channels last':
        x, along = (t.transpose(1, -1).contiguous().transpose(1, -1) for t in (x, along))
    elif memory_format == 'strided':
        along = along[:1].expand_as(along)
    weight, weight_along, bias, bias_along = torch.randn(4, 4, dtype=torch.float64)
    norm = {
        'none': (None, None, None, None),
        'fixed': (weight, None, bias, None),
        'weight moves': (weight, weight_along, bias, None),
        'bias moves': (weight, None, bias, bias_along),
        'both move': (weight, weight_along, bias, bias_along),
        'zero weight': (weight * 0, weight_along, bias, bias_along),
    }[affine]
    statistics = (torch.randn(4, dtype=torch.float64), torch.rand(4, dtype=torch.float64))
    found, expected = (tangent(norm, x, along, statistics, stand_in) for stand_in in (True, False))
    assert found[1].abs().max() > 0
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_bfloat16_features_with_float32_weights():
    torch.manual_seed(0)
    x, along = (torch.randn(4, 6, 3, 5, 6) for _ in range(2))
    norm, statistics = torch.randn(4, 6), (torch.zeros(6), torch.ones(6))
    found = tangent(norm, x.bfloat16(), along.bfloat16(), statistics, True)
    expected = tangent(norm, x, along, statistics, False)
    assert found[0].dtype == found[1].dtype == torch.bfloat16
    assert (found[1].float() - expected[1]).norm() < 0.02 * expected[1].norm()


@pytest.mark.parametrize('training, moves, replaced', [(True, True, True), (False, True, False), (True, False, False)])
def test_replaces_training_on_tangents_alone(training, moves, replaced, monkeypatch):
    calls = []
    original = torch.ops.aten.native_batch_norm_backward
    monkeypatch.setattr(forward_batch_norm.torch.ops.aten, 'native_batch_norm_backward',
                        lambda *args: calls.append(args) or original(*args))
    norm = torch.nn.BatchNorm3d(4).train(training)
    x = torch.rand(2, 4, 3, 5, 6)
    with torch.no_grad(), forward_ad.dual_level(), SymmetricBatchNorm():
        out = norm(forward_ad.make_dual(x, x.clone()) if moves else x)
        assert (forward_ad.unpack_dual(out).tangent is not None) == moves
    assert bool(calls) == replaced
