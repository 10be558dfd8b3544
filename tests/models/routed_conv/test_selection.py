import pytest
import torch
import torch.nn.functional as F

from mmdsts.models.routed_conv.pruned import pruned_conv
from mmdsts.models.routed_conv.selection import conv_per_sample, select_weights
from mmdsts.models.routing import straight_through_gumbel

from ..literal import literal_operators

N, B, C = 4, 3, 5


class _Neuron:
    """Four tensors with the names that the literal form reads."""

    def __init__(self):
        self.spatial = torch.randn(C, C, 1, 3, 3, dtype=torch.float64, requires_grad=True)
        self.temporal = torch.randn(C, C, 3, 1, 1, dtype=torch.float64, requires_grad=True)


def _random_case(seed, soft_gates):
    torch.manual_seed(seed)
    neurons = [_Neuron() for _ in range(N)]
    pulse = torch.randn(B, N, dtype=torch.float64, requires_grad=True)
    gates = torch.rand(N, C, dtype=torch.float64) if soft_gates else (torch.rand(N, C) > 0.5).double()
    x = torch.randn(B, C, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    leaves = [x, pulse, gates.requires_grad_(), *(n.spatial for n in neurons), *(n.temporal for n in neurons)]
    return neurons, pulse, gates, x, leaves


def _pruned(x, choice, gates, neurons):
    return (
        pruned_conv(x, choice, 1 - gates, [n.spatial for n in neurons]),
        pruned_conv(x, choice, gates, [n.temporal for n in neurons]),
    )


def _grouped(x, choice, gates, neurons):
    return (
        conv_per_sample(x, select_weights(choice, 1 - gates, [n.spatial for n in neurons])),
        conv_per_sample(x, select_weights(choice, gates, [n.temporal for n in neurons])),
    )


def _loss(operators, case, seed):
    neurons, pulse, gates, x, _ = case
    torch.manual_seed(seed)
    spatial, temporal = operators(x, straight_through_gumbel(pulse, 0.8), gates, neurons)
    # Not linear in the outputs, so that second derivatives have all their terms.
    return spatial, temporal, (spatial.tanh() + (spatial * temporal).sin() + temporal.square() / 3).sum()


def _difference(a, b):
    """Largest difference over the largest entry of the literal form ``b``; ``None`` counts as zero."""
    a = torch.zeros_like(b) if a is None else a
    return ((a - b).abs().max() / b.abs().max().clamp(min=1)).item()


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('soft_gates', [False, True])
@pytest.mark.parametrize('fast_operators', [_pruned, _grouped])
def test_weight_space_equals_literal_form_with_first_and_second_derivatives(
    seed, soft_gates, fast_operators, record_property
):
    case = _random_case(seed, soft_gates)
    leaves = case[-1]
    worst = {'output': 0.0, 'first': 0.0, 'second': 0.0}
    sides = []
    for operators in (fast_operators, literal_operators):
        spatial, temporal, loss = _loss(operators, case, seed)
        first_order = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
        differentiable = torch.autograd.grad(loss, leaves, create_graph=True)
        torch.manual_seed(100 + seed)
        directions = [torch.randn_like(leaf) for leaf in leaves]
        second = torch.autograd.grad(sum((g * d).sum() for g, d in zip(differentiable, directions)), leaves)
        sides.append((spatial, temporal, first_order, differentiable, second))
    fast, literal = sides
    worst['output'] = max(_difference(a, b) for a, b in zip(fast[:2], literal[:2]))
    worst['first'] = max(_difference(a, b) for i in (2, 3) for a, b in zip(fast[i], literal[i]))
    worst['second'] = max(_difference(a, b) for a, b in zip(fast[4], literal[4]))
    print(f'max relative difference to the literal form: {worst}')
    for name, value in worst.items():
        record_property(name, value)
        assert value < 1e-13, (name, value)


@pytest.mark.parametrize('fast_operators', [_pruned, _grouped])
def test_router_gradient_reaches_neurons_that_were_not_activated(fast_operators):
    neurons, pulse, gates, x, _ = _random_case(0, False)
    choice = straight_through_gumbel(pulse, 1.0)
    choice.retain_grad()
    sum(z.square().sum() for z in fast_operators(x, choice, gates, neurons)).backward()
    assert (choice.grad != 0).all()


@pytest.mark.parametrize('fast_operators', [_pruned, _grouped])
def test_first_order_pass_leaves_idle_neurons_without_gradient(fast_operators):
    neurons, _, gates, x, _ = _random_case(0, False)
    choice = F.one_hot(torch.tensor([2, 0, 2]), N).double()
    sum(z.square().sum() for z in fast_operators(x, choice, gates, neurons)).backward()
    assert [n.spatial.grad is not None for n in neurons] == [True, False, True, False]
    assert [n.temporal.grad is not None for n in neurons] == [True, False, True, False]


@pytest.mark.parametrize('kernel', [(1, 3, 3), (3, 1, 1)])
@pytest.mark.parametrize('size', [(3, 4, 5), (1, 4, 5), (3, 1, 1), (1, 1, 1)])
def test_conv_per_sample_equals_a_convolution_for_each_sample(kernel, size):
    x = torch.randn(B, C, *size, dtype=torch.float64)
    weight = torch.randn(B, 2 * C, C, *kernel, dtype=torch.float64)
    padding = tuple(k // 2 for k in kernel)
    expected = torch.cat([F.conv3d(x[i : i + 1], weight[i], padding=padding) for i in range(B)])
    torch.testing.assert_close(conv_per_sample(x, weight), expected)


def test_weights_in_another_memory_format_give_the_same_gradients():
    sides = []
    for memory_format in (torch.contiguous_format, torch.channels_last_3d):
        torch.manual_seed(0)
        choice = F.one_hot(torch.tensor([2, 0, 2]), N).double().requires_grad_()
        masks = torch.rand(N, C, dtype=torch.float64, requires_grad=True)
        x = torch.randn(B, C, 3, 4, 5, dtype=torch.float64, requires_grad=True)
        weights = [torch.randn(C, C, 1, 3, 3, dtype=torch.float64) for _ in range(N)]
        weights = [w.to(memory_format=memory_format).requires_grad_() for w in weights]
        inputs = [x, choice, masks, weights[0], weights[2]]
        sides.append(torch.autograd.grad(pruned_conv(x, choice, masks, weights).square().sum(), inputs))
    for a, b in zip(*sides):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('row', [[0.6, 0.4, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 2, 0, 0]])
@pytest.mark.parametrize('fast_operators', [_pruned, _grouped])
def test_a_choice_that_is_not_one_hot_is_refused(fast_operators, row):
    neurons, _, gates, x, _ = _random_case(0, False)
    choice = F.one_hot(torch.tensor([2, 0, 2]), N).double()
    choice[1] = torch.tensor(row)
    with pytest.raises(ValueError, match=r'choice must have one-hot rows, but row 1 is \['):
        fast_operators(x, choice, gates, neurons)


@pytest.mark.parametrize('fast_operators', [_pruned, _grouped])
def test_a_choice_made_of_nan_gives_nan(fast_operators):
    """Training tells what is not finite from the loss."""
    neurons, _, gates, x, _ = _random_case(0, False)
    pulse = torch.full((B, N), float('nan'), dtype=torch.float64)
    assert fast_operators(x * float('nan'), straight_through_gumbel(pulse, 1.0), gates, neurons)[0].isnan().all()
