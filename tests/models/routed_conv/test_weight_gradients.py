import pytest
import torch
import torch.nn.functional as F

from mmdsts.models.routed_conv import weight_gradients as module


@pytest.fixture(params=['all at once', 'all at once, channels last', 'one piece', 'several pieces', 'channels last'])
def case(request, monkeypatch):
    """Random arguments; with small pieces, the 20 output channels are gone through 8 at a time."""
    if not request.param.startswith('all at once'):
        monkeypatch.setattr(module, '_SMALL', 0)
    if request.param == 'several pieces':
        monkeypatch.setattr(module, '_PIECE', 1)
        monkeypatch.setattr(module, '_PIECE_OF_EACH', 1)
    torch.manual_seed(0)
    neurons, batch, outputs, inputs = 4, 3, 20, 5
    choice = F.one_hot(torch.tensor([2, 0, 2]), neurons).double()
    masks = torch.rand(neurons, inputs, dtype=torch.float64)
    per_sample = torch.randn(batch, outputs, inputs, 1, 3, 3, dtype=torch.float64)
    weights = [torch.randn(outputs, inputs, 1, 3, 3, dtype=torch.float64) for _ in range(neurons)]
    if request.param.endswith('channels last'):
        weights = [weight.to(memory_format=torch.channels_last_3d) for weight in weights]
    return [t.requires_grad_() for t in (choice, masks, per_sample, *weights)]


def _fast(choice, masks, per_sample, *weights):
    return module.weight_gradients(choice, masks, weights, per_sample)


def _literal(choice, masks, per_sample, *weights):
    """Gradients of the weighted sum of the masked weights, by autograd."""
    masked = torch.stack(weights) * masks[:, None, :, None, None, None]
    selected = torch.einsum('bn,n...->b...', choice, masked)
    return torch.autograd.grad(selected, [choice, masks, *weights], per_sample, create_graph=True)


def _derivatives(function, case, left_out=()):
    """Values and random directional derivatives with respect to all arguments."""
    torch.manual_seed(1)
    outputs = function(*case)
    pairs = [(o, torch.randn_like(o)) for i, o in enumerate(outputs) if i not in left_out and o.requires_grad]
    values, directions = zip(*pairs)
    found = torch.autograd.grad(values, case, directions, allow_unused=True)
    return outputs, [torch.zeros_like(t) if g is None else g for g, t in zip(found, case)]


# Cotangents that are missing (None): of the choice, of the masks, of some weights.
@pytest.mark.parametrize('left_out', [(), (0,), (1,), (0, 1), (2, 4)])
def test_equals_autograd_with_first_derivatives(case, left_out):
    for fast, literal in zip(_derivatives(_fast, case, left_out), _derivatives(_literal, case, left_out)):
        for a, b in zip(fast, literal):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-10)


def test_one_more_derivative_is_an_error(case):
    with pytest.raises(RuntimeError, match='third derivative of a routed convolution'):
        torch.autograd.grad(_fast(*case)[0].sum(), case[1], create_graph=True)
