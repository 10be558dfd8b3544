"""Each fast path against the sum over all neurons that it stands for, in float64."""

import pytest
import torch
import torch.nn.functional as F

from mmdsts.models.routed_conv import pruned as module
from mmdsts.models.routed_conv.literal import literal_conv as literal
from mmdsts.models.routed_conv.pruned import pruned_conv

KERNELS = {'spatial': (1, 3, 3), 'temporal': (3, 1, 1)}
SIZES = {
    'few neurons': (3, 5, 4),  # N, B, channels
    'idle neurons': (6, 3, 20),
    'more neurons and samples than are held at once': (18, 20, 3),
}


def arguments(kernel, sizes, masks='binary', seed=0):
    """Input, choice, masks and weights; with ``closed`` masks the first sample's neuron reads no channel."""
    torch.manual_seed(seed)
    num, batch, channels = SIZES[sizes]
    x = torch.randn(batch, channels, 3, 4, 5, dtype=torch.float64)
    choice = F.one_hot(torch.randint(num, (batch,)), num).double()
    drawn = torch.rand(num, channels, dtype=torch.float64)
    drawn = (drawn > 0.5).double() if masks == 'binary' else drawn
    if masks == 'closed':
        drawn[choice.argmax(1)[0]] = 0
    weights = [torch.randn(channels + 2, channels, *KERNELS[kernel], dtype=torch.float64) for _ in range(num)]
    return [t.requires_grad_() for t in (x, choice, drawn, *weights)]


def call(function, inputs):
    return function(*inputs[:3], inputs[3:])


def _gradients(outputs, inputs, cotangents, **kwargs):
    """As ``torch.autograd.grad(materialize_grads=True)``, which torch 2.0 has not."""
    found = torch.autograd.grad(outputs, inputs, cotangents, allow_unused=True, **kwargs)
    return [torch.zeros_like(t, requires_grad=True) if g is None else g for g, t in zip(found, inputs)]


def derivatives(function, inputs, cotangents, towards=None):
    """Value, gradients, and those of the gradients ``towards`` some inputs (all of them by default)."""
    out = call(function, inputs)
    answer, seconds = cotangents
    answer = answer.clone().requires_grad_()
    first = _gradients(out, inputs, answer, create_graph=True)
    chosen = [i for i in range(len(inputs)) if towards is None or i in towards]
    second = _gradients([first[i] for i in chosen], [*inputs, answer], [seconds[i] for i in chosen])
    return out, first, second


def drawn_cotangents(inputs):
    out = call(literal, inputs)
    return torch.randn_like(out), [torch.randn_like(t) for t in inputs]


def check_close(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def check_derivatives(inputs):
    """Those of a first-order pass, in which idle neurons have none, and those that are differentiated again."""
    cotangents = drawn_cotangents(inputs)
    found, expected = (derivatives(f, inputs, cotangents) for f in (pruned_conv, literal))
    check_close([found[0]], [expected[0]])
    check_close(found[1], expected[1])
    check_close(found[2], expected[2])
    lean = torch.autograd.grad(call(pruned_conv, inputs), inputs, cotangents[0], allow_unused=True)
    active = inputs[1].argmax(dim=1).unique().tolist()
    assert [i for i, gradient in enumerate(lean[3:]) if gradient is not None] == active
    used = [i for i, gradient in enumerate(lean) if gradient is not None]
    check_close([lean[i] for i in used], [expected[1][i] for i in used])


@pytest.mark.parametrize('parts', ['whole', 'in parts'])
@pytest.mark.parametrize('masks', ['binary', 'soft', 'closed'])
@pytest.mark.parametrize('sizes', SIZES)
@pytest.mark.parametrize('kernel', KERNELS)
def test_value_and_derivatives(kernel, sizes, masks, parts, monkeypatch):
    if parts == 'in parts':
        monkeypatch.setattr(module, '_HELD', 1)
        monkeypatch.setattr(module, '_AT_ONCE', 1)
    check_derivatives(arguments(kernel, sizes, masks))


@pytest.mark.parametrize('slices', [2, 3])
def test_output_channels_in_slices(slices, monkeypatch):
    """Wide enough for more than one block of 32 output channels."""
    torch.manual_seed(0)
    weights = [torch.randn(96, 2, 1, 3, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    monkeypatch.setattr(module, '_HELD', 4 * weights[0].numel() // slices)
    assert len(module._parts(4, weights)[1]) == slices
    x = torch.randn(4, 2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    choice = F.one_hot(torch.tensor([0, 2, 2, 0]), 3).double().requires_grad_()
    masks = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]).double().requires_grad_()
    check_derivatives([x, choice, masks, *weights])


@pytest.mark.parametrize('towards', [{0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}, {3, 4, 5}])
def test_second_derivatives_where_only_some_gradients_are_used(towards):
    inputs = arguments('spatial', 'few neurons')
    cotangents = drawn_cotangents(inputs)
    found, expected = (derivatives(f, inputs, cotangents, towards)[2] for f in (pruned_conv, literal))
    check_close(found, expected)


def test_third_derivative_is_an_error():
    inputs = arguments('temporal', 'few neurons')
    first = torch.autograd.grad(call(pruned_conv, inputs).square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match='third derivative of a routed convolution'):
        torch.autograd.grad(first[0].square().sum(), inputs, create_graph=True)


@pytest.mark.parametrize('kernel', KERNELS)
def test_bfloat16_under_autocast(kernel):
    inputs = [t.detach().float().requires_grad_() for t in arguments(kernel, 'few neurons')]
    expected = call(literal, inputs)
    with torch.autocast('cpu', torch.bfloat16):
        found = call(pruned_conv, inputs)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.2)
    answer = torch.randn_like(expected)
    found = torch.autograd.grad(found, inputs, answer.bfloat16(), allow_unused=True)
    for a, b in zip(found, torch.autograd.grad(expected, inputs, answer, allow_unused=True)):
        if a is not None:
            assert a.dtype == torch.float32
            assert (a - b).norm() < 0.02 * b.norm()
