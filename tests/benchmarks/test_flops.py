import pytest
import torch
import torch.nn.functional as F

from benchmarks.flops import count_flops


@pytest.mark.parametrize('groups', [1, 4])
@pytest.mark.parametrize('transposed', [False, True])
def test_each_gradient_of_a_convolution_costs_what_the_convolution_does(groups, transposed):
    convolution = F.conv_transpose2d if transposed else F.conv2d
    x = torch.randn(2, 8, 5, 7, requires_grad=True)
    weight = torch.randn(8, 8 // groups, 3, 3, requires_grad=True)
    # For each sample, place, input channel, output channel of its group and kernel entry, 2 operations.
    once = 2 * (5 * 7) * 8 * (8 // groups) * 9 * 2

    def run(*wanted):
        out = convolution(x, weight, padding=1, groups=groups)
        return torch.autograd.grad(out, wanted, torch.ones_like(out)) if wanted else out

    assert count_flops(run) == once
    assert count_flops(lambda: run(x)) == 2 * once
    assert count_flops(lambda: run(weight)) == 2 * once
    assert count_flops(lambda: run(x, weight)) == 3 * once


def test_each_gradient_of_a_product_costs_what_the_product_does():
    a, b = torch.randn(3, 4, requires_grad=True), torch.randn(4, 5, requires_grad=True)
    assert count_flops(lambda: a @ b) == 2 * 3 * 4 * 5
    assert count_flops(lambda: (a @ b).sum().backward()) == 3 * 2 * 3 * 4 * 5
