import torch

from mmdsts.models.gates import decide_gates, sample_gates


def test_sampled_gates_are_binary_with_the_probability_of_the_noise():
    torch.manual_seed(0)
    gates = sample_gates(torch.full((40000,), 0.5))
    assert set(gates.tolist()) == {0.0, 1.0}
    # P(g + eps > 0) for eps ~ N(0, 1)
    torch.testing.assert_close(gates.mean(), torch.special.ndtr(torch.tensor(0.5)), atol=0.01, rtol=0)


def test_noise_has_its_standard_deviation():
    torch.manual_seed(0)
    gates = sample_gates(torch.full((40000,), 0.1), noise=0.2)
    torch.testing.assert_close(gates.mean(), torch.special.ndtr(torch.tensor(0.5)), atol=0.01, rtol=0)


def test_gradient_is_that_of_the_saturating_sigmoid():
    gate = torch.linspace(-4, 4, 41, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(1)
    noise = torch.randn_like(gate)
    torch.manual_seed(1)
    ours = torch.autograd.grad(sample_gates(gate).sum(), gate)[0]
    soft = (1.2 * torch.sigmoid(gate + noise) - 0.1).clamp(0, 1)
    torch.testing.assert_close(ours, torch.autograd.grad(soft.sum(), gate)[0])
    assert (ours == 0).any() and (ours > 0).any()


def test_soft_values_pass_with_their_probability():
    torch.manual_seed(0)
    soft = sample_gates(torch.zeros(40000), soft_prob=0.3)
    share = ((soft != 0) & (soft != 1)).float().mean()
    # A soft value is itself saturated where |g'| > ln 11.
    unsaturated = 2 * torch.special.ndtr(torch.tensor(11.0).log()) - 1
    torch.testing.assert_close(share, 0.3 * unsaturated, atol=0.01, rtol=0)
    assert set(sample_gates(torch.zeros(100), soft_prob=0.0).tolist()) == {0.0, 1.0}


def test_evaluation_takes_the_sign():
    assert decide_gates(torch.tensor([-0.1, 0.0, 0.1])).tolist() == [0, 0, 1]
