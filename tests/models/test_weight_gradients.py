import pytest
import torch
import torch.nn.functional as F

from mmdsts.models import weight_gradients as module


@pytest.fixture(params=['one piece', 'several pieces', 'channels last'])
def case(request, monkeypatch):
    """Random arguments; with small pieces, the 20 output channels are gone through 8 at a time."""
    if request.param == 'several pieces':
        monkeypatch.setattr(module, '_PIECE', 1)
        monkeypatch.setattr(module, '_PIECE_OF_EACH', 1)
    torch.manual_seed(0)
    neurons, batch, outputs, inputs = 4, 3, 20, 5
    choice = F.one_hot(torch.tensor([2, 0, 2]), neurons).double()
    masks = torch.rand(neurons, inputs, dtype=torch.float64)
    per_sample = torch.randn(batch, outputs, inputs, 1, 3, 3, dtype=torch.float64)
    weights = [torch.randn(outputs, inputs, 1, 3, 3, dtype=torch.float64) for _ in range(neurons)]
    if request.param == 'channels last':
        weights = [weight.to(memory_format=torch.channels_last_3d) for weight in weights]
    return [t.requires_grad_() for t in (choice, masks, per_sample, *weights)]


def _fast(choice, masks, per_sample, *weights):
    return module.weight_gradients(choice, masks, weights, per_sample)


def _derivatives(function, case, left_out=()):
    """Values and random directional derivatives of orders one to three with respect to all arguments."""
    torch.manual_seed(1)
    outputs = function(*case)
    orders = [outputs]
    for _ in range(2):
        pairs = [(o, torch.randn_like(o)) for i, o in enumerate(outputs) if i not in left_out and o.requires_grad]
        values, directions = zip(*pairs)
        outputs = torch.autograd.grad(values, case, directions, create_graph=True, allow_unused=True)
        outputs = [torch.zeros_like(t) if o is None else o for o, t in zip(outputs, case)]
        orders.append(outputs)
        left_out = ()
    return orders


# Cotangents that are missing (None): of the choice, of the masks, of some weights.
@pytest.mark.parametrize('left_out', [(), (0, ), (1, ), (0, 1), (2, 4)])
def test_equals_plain_operations_up_to_the_third_derivative(case, left_out):
    for fast, literal in zip(_derivatives(_fast, case, left_out), _derivatives(module._literal, case, left_out)):
        for a, b in zip(fast, literal):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-10)


def test_lean_second_derivative_equals_the_differentiable_one(case):
    grads = [torch.randn_like(o) for o in module._literal(*case)]
    lean = torch.autograd.grad(_fast(*case), case, grads)
    literal = torch.autograd.grad(module._literal(*case), case, grads)
    for a, b in zip(lean, literal):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-10)
