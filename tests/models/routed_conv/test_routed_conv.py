"""Which path runs, and that it makes no difference."""

import pytest
import torch
import torch.nn.functional as F

from mmdsts.models.routed_conv import routed_conv, weight_gradients
from mmdsts.models.routed_conv.literal import literal_conv


@pytest.mark.parametrize('largest_small, path', [(5 * 4 * 9, '_SelectWeights'), (5 * 4 * 9 - 1, '_RoutedConv')])
def test_small_neurons_are_selected_and_large_ones_convolved(largest_small, path, monkeypatch):
    monkeypatch.setattr(weight_gradients, '_SMALL', largest_small)
    torch.manual_seed(0)
    x = torch.randn(3, 4, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    choice = F.one_hot(torch.tensor([0, 2, 2]), 3).double().requires_grad_()
    masks = torch.tensor([[1.0, 0.0, 1.0, 0.0]] * 3, dtype=torch.float64, requires_grad=True)
    weights = [torch.randn(5, 4, 1, 3, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    found, expected = routed_conv(x, choice, masks, weights), literal_conv(x, choice, masks, weights)

    assert path in {type(node).__name__.replace('Backward', '') for node in graph(found)}
    torch.testing.assert_close(found, expected)
    inputs, used = [x, choice, masks, weights[0], weights[2]], torch.randn_like(found)
    for a, b in zip(torch.autograd.grad(found, inputs, used), torch.autograd.grad(expected, inputs, used)):
        torch.testing.assert_close(a, b)


def graph(tensor):
    found, open_nodes = set(), [tensor.grad_fn]
    while open_nodes:
        node = open_nodes.pop()
        if node is not None and node not in found:
            found.add(node)
            open_nodes += [next_node for next_node, _ in node.next_functions]
    return found
