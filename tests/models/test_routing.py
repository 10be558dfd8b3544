import pytest
import torch

from mmdsts.models.routing import (
    Routing,
    activation_share,
    active_neurons,
    largest_pulse,
    load_balance_loss,
    straight_through_gumbel,
)


def test_choice_is_exactly_one_hot_and_follows_the_gumbel_distribution():
    torch.manual_seed(0)
    pulse = torch.tensor([[0.0, 1.0, 2.0]]).expand(20000, 3).contiguous().requires_grad_()
    choice = straight_through_gumbel(pulse, temperature=0.5)
    assert set(choice.unique().tolist()) == {0.0, 1.0} and torch.equal(choice.sum(1), torch.ones(20000))
    # Gumbel-max: the arg-max of pulse + noise is a draw from softmax(pulse), whatever the temperature.
    torch.testing.assert_close(choice.mean(0), pulse[0].softmax(0), atol=0.015, rtol=0)


def test_choice_has_the_gradient_of_the_gumbel_softmax():
    pulse = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 4, dtype=torch.float64)
    torch.manual_seed(3)
    ours = torch.autograd.grad((straight_through_gumbel(pulse, 0.7) * weight).sum(), pulse)[0]
    torch.manual_seed(3)
    reference = torch.nn.functional.gumbel_softmax(pulse, tau=0.7, hard=True)
    torch.testing.assert_close(ours, torch.autograd.grad((reference * weight).sum(), pulse)[0])


def test_training_goes_where_the_test_does_once_pulses_outgrow_the_noise():
    torch.manual_seed(0)
    pulse = torch.randn(500, 6)
    test = largest_pulse(pulse)
    assert torch.equal(pulse.gather(1, test[:, None])[:, 0], pulse.max(dim=1).values)
    agreement = [(active_neurons(straight_through_gumbel(s * pulse, 1.0)) == test).float().mean() for s in (1, 1e6)]
    assert agreement[0] < 0.6
    assert agreement[1] > 0.99
    # Views of clips in further axes.
    assert torch.equal(largest_pulse(pulse.view(5, 100, 6)), test.view(5, 100))


def test_load_balance_loss_is_one_when_uniform_and_n_when_collapsed():
    uniform = Routing(torch.arange(8) % 4, torch.zeros(8, 4), torch.full((8, 4), 0.25))
    collapsed = Routing(
        torch.zeros(8, dtype=torch.long), torch.zeros(8, 4), torch.eye(4)[torch.zeros(8, dtype=torch.long)]
    )
    assert load_balance_loss(uniform).item() == pytest.approx(1)
    assert load_balance_loss(collapsed).item() == pytest.approx(4)
    assert activation_share(collapsed).tolist() == [1, 0, 0, 0]
