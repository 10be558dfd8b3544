"""The hypergradient against references that share no code with it (float64)."""

import pytest
import torch
from torch import nn

from mmdsts.engine import meta_gradient, simulated_step, upstream_gradient
from mmdsts.models import DSTSNeck

from .small_nets import Mixture, NeckAndHead, max_difference, module_problem, unrolled_gradient

LR = 0.2


@pytest.fixture(autouse=True)
def _float64():
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def problem(norm=True, dropout=0.3):
    return module_problem(Mixture(norm, dropout))


def size(gradient):
    return max(float(g.abs().max()) for g in gradient.values())


@pytest.mark.parametrize('norm', [True, False], ids=['batchnorm', 'groupnorm'])
@pytest.mark.parametrize('dropout', [0.0, 0.3])
def test_exact_equals_unrolling(norm, dropout):
    task = problem(norm, dropout)
    exact, unrolled = upstream_gradient(*task, LR), unrolled_gradient(*task, LR)
    difference = max_difference(exact, unrolled)
    print(f'exact - unrolled: {difference:.1e} of {size(unrolled):.1e}')
    assert size(unrolled) > 1e-4
    assert difference < 1e-14


def test_exact_equals_torchopt():
    torchopt = pytest.importorskip('torchopt', reason='torchopt is a test-only dependency')
    train_loss, heldout_loss, u, d = problem()
    exact = upstream_gradient(train_loss, heldout_loss, u, d, LR)
    holder = nn.ParameterDict({n.replace('.', '/'): nn.Parameter(t.detach().clone()) for n, t in d.items()})

    def current():
        return {n: holder[n.replace('.', '/')] for n in d}

    leaves = {n: t.detach().clone().requires_grad_() for n, t in u.items()}
    torchopt.MetaSGD(holder, lr=LR).step(train_loss(leaves, current()))
    found = torch.autograd.grad(
        heldout_loss({n: t.detach() for n, t in leaves.items()}, current()), list(leaves.values()), allow_unused=True
    )
    reference = {n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(leaves.items(), found)}
    difference = max_difference(exact, reference)
    print(f'exact - torchopt: {difference:.1e}')
    assert difference < 1e-14


def test_exact_equals_numerical_differentiation():
    train_loss, heldout_loss, u, d = problem()
    u_hat = {n: t.detach().clone() for n, t in u.items()}

    def outer(moved):
        leaves = {n: t.detach().clone().requires_grad_() for n, t in d.items()}
        grads = torch.autograd.grad(train_loss(moved, leaves), list(leaves.values()), allow_unused=True)
        d_hat = {n: t.detach() if g is None else t.detach() - LR * g for (n, t), g in zip(leaves.items(), grads)}
        return heldout_loss(u_hat, d_hat).item()

    numerical, h = {n: torch.zeros_like(t) for n, t in u.items()}, 1e-5
    for name in u:
        for i in range(u[name].numel()):
            ends = []
            for sign in (1, -1):
                moved = {n: t.detach().clone() for n, t in u.items()}
                moved[name].view(-1)[i] += sign * h
                ends.append(outer(moved))
            numerical[name].view(-1)[i] = (ends[0] - ends[1]) / (2 * h)
    difference = max_difference(upstream_gradient(train_loss, heldout_loss, u, d, LR), numerical)
    print(f'exact - numerical: {difference:.1e}')
    assert difference < 1e-10


def test_finite_difference_converges_to_exact():
    task = problem()
    exact = upstream_gradient(*task, LR)
    errors = [
        max_difference(upstream_gradient(*task, LR, method='finite_difference', fd_epsilon=e), exact)
        for e in (1e-1, 1e-2, 1e-3)
    ]
    print(f'finite difference - exact: {errors} of {size(exact):.1e}')
    # Central differences: the error falls with the square of the step.
    assert errors[1] < errors[0] / 50
    assert errors[2] < errors[1] / 50
    assert errors[1] < 1e-2 * size(exact)


def test_finite_difference_replays_the_noise_of_the_simulated_step():
    net = Mixture(dropout=0.5)
    task = module_problem(net)
    drawn = []

    def unseeded(u, d):  # draws from the running generator, as a model does
        x = torch.linspace(-1, 1, 3 * 3 * 2 * 4 * 4).reshape(3, 3, 2, 4, 4)
        drawn.append(torch.get_rng_state())
        buffers = {n: b.clone() for n, b in net.named_buffers()}
        out = torch.func.functional_call(net, {**u, **d, **buffers}, (x,))
        return nn.functional.cross_entropy(out, torch.tensor([0, 1, 2]))

    torch.manual_seed(3)
    exact = upstream_gradient(unseeded, *task[1:], LR)
    drawn.clear()
    torch.manual_seed(3)
    found = upstream_gradient(unseeded, *task[1:], LR, method='finite_difference', fd_epsilon=1e-3)
    assert len(drawn) == 3
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    assert max_difference(found, exact) < 1e-3 * size(exact)


@pytest.mark.parametrize('method', ['exact', 'finite_difference'])
def test_direct_term_adds_the_gradient_through_u_hat(method):
    task = problem()
    reference = unrolled_gradient(*task, LR, through_u_hat=True)
    found = upstream_gradient(*task, LR, method=method, direct_term=True, fd_epsilon=1e-3)
    without = upstream_gradient(*task, LR, method=method, fd_epsilon=1e-3)
    assert max_difference(found, reference) < (1e-14 if method == 'exact' else 1e-5 * size(reference))
    assert max_difference(without, reference) > 0.1 * size(reference)


@pytest.mark.parametrize('method', ['exact', 'finite_difference'])
def test_unused_upstream_gets_zero(method):
    task = problem()
    found = upstream_gradient(*task, LR, method=method)
    assert torch.equal(found['unused_score'], torch.zeros(2))
    assert found['score'].abs().max() > 0


@pytest.mark.parametrize('method', ['exact', 'finite_difference'])
def test_losses_that_use_nothing_in_common_give_zero(method):
    u, d = {'u': torch.tensor(2.0)}, {'d': torch.tensor(3.0)}
    for train, heldout in [
        (lambda u, d: d['d'] ** 2, lambda u, d: d['d']),
        (lambda u, d: u['u'] * d['d'], lambda u, d: u['u'] ** 2),
        (lambda u, d: u['u'] + d['d'], lambda u, d: d['d']),
    ]:
        assert upstream_gradient(train, heldout, u, d, 0.1, method=method) == {'u': torch.tensor(0.0)}


def test_inner_learning_rate_by_name():
    task = problem()
    rates = {n: 0.05 * (i + 1) for i, n in enumerate(task[3])}
    reference = unrolled_gradient(*task, rates)
    assert max_difference(upstream_gradient(*task, rates), reference) < 1e-14
    near = upstream_gradient(*task, rates, method='finite_difference', fd_epsilon=1e-3)
    assert max_difference(near, reference) < 1e-5 * size(reference)


@pytest.mark.parametrize('shared_base', [False, True])
@pytest.mark.parametrize('pulse', ['sum', 'centered'])
def test_exact_equals_unrolling_through_the_neck(pulse, shared_base):
    options = dict(pulse=pulse, balance_weight=0.1, zero_init=False, shared_base=shared_base)
    neck = DSTSNeck(in_channels=4, num_layers=2, num_neurons=3, **options)
    train_loss, heldout_loss, u, d = module_problem(NeckAndHead(neck), channels=4)
    exact = upstream_gradient(train_loss, heldout_loss, u, d, LR)
    unrolled = unrolled_gradient(train_loss, heldout_loss, u, d, LR)
    difference = max_difference(exact, unrolled)
    print(f'{pulse}: exact - unrolled: {difference:.1e} of {size(unrolled):.1e}')
    assert len(u) == 2 * (3 * 2 + (pulse == 'centered'))
    assert size({n: g for n, g in unrolled.items() if 'score' in n}) > 1e-6
    assert size({n: g for n, g in unrolled.items() if 'gate' in n}) > 1e-6
    assert difference < 1e-13


def test_features_spare_second_derivatives_of_what_makes_them():
    """A part of ``d`` behind features: one pass back and one forward give the same as differentiating it twice."""
    x, y = torch.randn(2, 5, 3)
    u = {'u': torch.randn(3, requires_grad=True)}
    d = {'stem': torch.randn(3, 3, requires_grad=True), 'head': torch.randn(3, requires_grad=True)}

    def stem(weight, x):
        return torch.tanh(x @ weight)

    def head(u, d, f):
        return (torch.sigmoid(f * u['u']) @ d['head']).square().sum()

    class Stem:
        names = {'stem'}

        def __init__(self):
            self.out = stem(d['stem'], x)
            self.given = self.out.detach().requires_grad_()

        def leaves(self):
            return {'feature': self.given}

        def pull_back(self, gradient):
            return {'stem': torch.autograd.grad(self.out, d['stem'], gradient['feature'], retain_graph=True)[0]}

        def push_forward(self, direction):
            return {'feature': torch.func.jvp(lambda w: stem(w, x), (d['stem'],), (direction['stem'],))[1].detach()}

    def heldout(u, d):
        return head(u, d, stem(d['stem'], y))

    features = Stem()
    step = simulated_step(lambda u, d: head(u, d, features.given), u, d, LR, features=features)
    found = meta_gradient(step, None, heldout).gradient
    reference = unrolled_gradient(lambda u, d: head(u, d, stem(d['stem'], x)), heldout, u, d, LR)
    assert size(reference) > 1e-3
    assert max_difference(found, reference) < 1e-13


@pytest.mark.parametrize('method', ['exact', 'finite_difference'])
def test_loss_scale_cancels(method):
    task = problem()
    plain = upstream_gradient(*task, LR, method=method)
    scaled = upstream_gradient(*task, LR, method=method, loss_scale=2.0**16)
    assert max_difference(plain, scaled) < 1e-13


@pytest.mark.parametrize('method', ['exact', 'finite_difference'])
def test_inputs_are_left_alone(method):
    task = problem()
    tensors = {**task[2], **task[3]}
    before = {n: t.detach().clone() for n, t in tensors.items()}
    result = upstream_gradient(*task, LR, method=method)
    assert all(torch.equal(before[n], t) and t.grad is None for n, t in tensors.items())
    assert all(not g.requires_grad for g in result.values())


def test_two_processes_emulated_by_reduce():
    """Averaging g_d, w and the result over two halves gives the gradient of the joined batch."""
    torch.manual_seed(1)
    u, d = {'u': torch.randn(3)}, {'d': torch.randn(3, 3), 'e': torch.randn(3)}
    parts = [(torch.randn(4, 3), torch.randn(4, 3)) for _ in range(2)]

    def loss(x):
        return lambda u, d: torch.tanh((x * u['u']) @ d['d'] + d['e']).square().mean()

    joined = upstream_gradient(loss(torch.cat([p[0] for p in parts])), loss(torch.cat([p[1] for p in parts])), u, d, LR)
    # The k-th reduction of one process meets the k-th of the other: run both in threads with a barrier.
    import threading

    barrier, box, results = threading.Barrier(2), [None, None], [None, None]

    def process(rank):
        def reduce(tensors):
            box[rank] = tensors
            barrier.wait()
            mean = {n: (box[0][n] + box[1][n]) / 2 for n in tensors}
            barrier.wait()
            return mean

        results[rank] = upstream_gradient(loss(parts[rank][0]), loss(parts[rank][1]), u, d, LR, reduce=reduce)

    threads = [threading.Thread(target=process, args=(r,)) for r in range(2)]
    [t.start() for t in threads]
    [t.join(30) for t in threads]
    for result in results:
        assert max_difference(result, joined) < 1e-15


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(method='darts'), "method is 'darts'"),
        (dict(inner_lr={'stem.weight': 0.1}), 'inner_lr has no entry for'),
        (dict(upstream={}), 'upstream is empty'),
        (dict(downstream={}), 'downstream is empty'),
        (dict(train_loss=lambda u, d: torch.zeros(2)), r'train_loss returned \(2,\)'),
        (dict(heldout_loss=lambda u, d: 1.0), 'heldout_loss returned float'),
    ],
)
def test_errors_name_the_argument(arguments, message):
    train, heldout, u, d = problem()
    given = dict(train_loss=train, heldout_loss=heldout, upstream=u, downstream=d, inner_lr=LR)
    given.update(arguments)
    with pytest.raises(ValueError, match=message):
        upstream_gradient(**given)


class TestPlantedErrors:
    """Each mistake that such code is known for differs from the truth by far more than the tolerances
    above."""

    def difference(self, wrong):
        task = problem()
        truth = unrolled_gradient(*task, LR)
        return max_difference(wrong(task, truth), truth) / size(truth)

    def test_wrong_sign(self):
        assert self.difference(lambda task, truth: {n: -g for n, g in truth.items()}) > 1

    def test_scaled_twice(self):
        assert self.difference(lambda task, truth: upstream_gradient(*task, LR * 2)) > 0.1

    def test_gradient_through_u_hat(self):
        assert self.difference(lambda task, truth: unrolled_gradient(*task, LR, through_u_hat=True)) > 0.1

    def test_same_batch_twice(self):
        def wrong(task, truth):
            train_loss, _, u, d = task
            return upstream_gradient(train_loss, train_loss, u, d, LR)

        assert self.difference(wrong) > 0.1
