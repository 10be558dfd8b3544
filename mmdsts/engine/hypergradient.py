"""The gradient of Upstream-Downstream Learning (METHOD 2) as pure functions of losses and tensors.

Upstream ``u`` decides (scoring kernels, gates), downstream ``d`` is everything else::

    simulated   d_hat = d - inner_lr * g_d          g_d = grad_d train_loss(u, d)
    meta        grad_u = d heldout_loss(u_hat, d_hat(u)) / du          u_hat: no gradient
                       = - inner_lr * d <g_d, w> / du                  w = grad_{d_hat} heldout_loss

``exact`` evaluates the last line as one vector-Jacobian product, so the unrolled graph never exists.
Where some of ``d`` acts on the training loss through features ``f`` only, ``g_f`` and the features' tangent stand for
it in ``<g_d, w>``: see :class:`Features`.

``finite_difference`` needs first derivatives only::

    grad_u ~ - inner_lr * [grad_u train_loss(u, d + e w) - grad_u train_loss(u, d - e w)] / (2 e)

For smooth losses the two agree up to the square of the step. They estimate different things where a hard
decision with a straight-through gradient depends on ``d``: along ``d`` a difference sees the decision
itself, which does not change under a small step, while differentiating twice goes through its soft stand-in
both times. In a DSTS neck that is every layer behind a projection or another layer; in the first layer on a
fixed feature they agree.

Nothing here knows MMEngine or modules.
"""

from __future__ import annotations

from typing import Callable, Collection, Dict, NamedTuple, Protocol, Union

import torch
from torch import Tensor

from .random_state import RandomState, devices_of, preserve_random_state

Tensors = Dict[str, Tensor]
LossFunction = Callable[[Tensors, Tensors], Tensor]
InnerLR = Union[float, Dict[str, float]]
Reduce = Callable[[Tensors], Tensors]

METHODS = ('exact', 'finite_difference')


class Features(Protocol):
    """A part of ``d`` that the training loss sees through features only, and ``u`` does not reach.

    With Jacobian ``J`` of the features, ``g_d = J^T g_f`` for this part, so ``<g_d, w> = <g_f, J w>``: the second-order
    term needs no second derivative of whatever makes the features, only one pass forward along ``w``.
    """

    #: Names of the downstream tensors behind the features.
    names: Collection[str]

    def leaves(self) -> Tensors:
        """The features that the training loss has used, leaves that require a gradient, by keys of their own."""

    def pull_back(self, gradient: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
        """``J^T``: from gradients of the leaves to those of ``names``; first order, None where nothing arrives."""

    def push_forward(self, direction: Tensors) -> Tensors:
        """``J``: from a direction in ``names`` to the tangents of the leaves, detached."""


class SimulatedStep(NamedTuple):
    """What the simulated step hands to the meta step.

    Attributes:
        loss: Training loss at ``(u, d)``, a detached scalar.
        upstream: ``u``, tensors that require a gradient.
        start: ``d``, tensors that require a gradient.
        gradient: This process's ``g_d``, with its graph for ``exact``; None where a tensor is not used.
        downstream: ``d_hat``, detached leaves that require a gradient.
        inner_lr: Inner learning rate by name.
        noise: Random state before the training loss, for the replay in ``finite_difference``.
        features: What stands for a part of ``d`` in ``gradient``, whose keys are then those of its leaves.
    """

    loss: Tensor
    upstream: Tensors
    start: Tensors
    gradient: dict[str, Tensor | None]
    downstream: Tensors
    inner_lr: dict[str, float]
    noise: RandomState | None
    features: Features | None = None


class MetaGradient(NamedTuple):
    """Result of the meta step.

    Attributes:
        gradient: Upstream name -> detached gradient, the shape of its tensor.
        heldout_loss: Held-out loss at ``(u_hat, d_hat)``, a detached scalar.
    """

    gradient: Tensors
    heldout_loss: Tensor


def upstream_gradient(
    train_loss: LossFunction,
    heldout_loss: LossFunction,
    upstream: Tensors,
    downstream: Tensors,
    inner_lr: InnerLR,
    method: str = 'exact',
    *,
    direct_term: bool = False,
    fd_epsilon: float = 0.01,
    loss_scale: float = 1.0,
    reduce: Reduce | None = None,
) -> Tensors:
    """Gradient of the held-out loss after a simulated step with respect to the upstream tensors (METHOD 2).

    Args:
        train_loss: ``(upstream, downstream) -> scalar`` on the training batch.
        heldout_loss: The same on the held-out batch.
        upstream: Name -> tensor of any shape.
        downstream: Name -> tensor of any shape.
        inner_lr: Learning rate of the simulated SGD step, one number or downstream name -> number.
        method: ``'exact'`` or ``'finite_difference'``. Defaults to ``'exact'``.
        direct_term: Add the first-order term through ``u_hat``, as architecture search does. The notes
            exclude it. Defaults to False.
        fd_epsilon: Length of the finite-difference step in the norm of ``d`` (METHOD 2:
            ``e = 0.01 / ||w||``). Defaults to 0.01.
        loss_scale: Losses are multiplied by it before, gradients divided by it after differentiation, so that
            float16 does not underflow. The result is unscaled. Defaults to 1.
        reduce: Averages a dict of tensors over processes; called for ``g_d``, ``w`` and the result, so that R
            processes get the gradient of the joined batch. Defaults to None, one process.

    Returns:
        Name -> detached gradient with the keys of ``upstream``; zero where the loss does not use a tensor.

    Raises:
        ValueError: Unknown ``method``, empty ``upstream`` or ``downstream``, missing inner learning rate, or
            a loss that is no scalar.

    Examples:
        >>> import torch
        >>> from mmdsts.engine import upstream_gradient
        >>> u, d = {'u': torch.tensor(2.)}, {'d': torch.tensor(3.)}
        >>> train = lambda u, d: u['u'] * d['d']    # g_d = u, so d_hat = d - 0.1 u = 2.8
        >>> heldout = lambda u, d: d['d'] ** 2      # d heldout / du = 2 d_hat * (-0.1)
        >>> upstream_gradient(train, heldout, u, d, inner_lr=0.1)
        {'u': tensor(-0.5600)}
    """
    step = simulated_step(train_loss, upstream, downstream, inner_lr, method, loss_scale=loss_scale, reduce=reduce)
    return meta_gradient(
        step,
        train_loss,
        heldout_loss,
        method,
        direct_term=direct_term,
        fd_epsilon=fd_epsilon,
        loss_scale=loss_scale,
        reduce=reduce,
    ).gradient


def simulated_step(
    train_loss: LossFunction,
    upstream: Tensors,
    downstream: Tensors,
    inner_lr: InnerLR,
    method: str = 'exact',
    *,
    loss_scale: float = 1.0,
    reduce: Reduce | None = None,
    features: Features | None = None,
) -> SimulatedStep:
    """The simulated step ``d_hat = d - inner_lr * g_d``, ``u`` fixed.

    Arguments as :func:`upstream_gradient`. ``features`` spare ``exact`` the second derivatives of a part of the
    network; ``train_loss`` is then not given the tensors behind them.
    """
    if method not in METHODS:
        raise ValueError(f'method is {method!r}, expected one of {METHODS}')
    for argument, tensors in (('upstream', upstream), ('downstream', downstream)):
        if not tensors:
            raise ValueError(f'{argument} is empty, expected at least one tensor')
    rates = _rates(inner_lr, downstream)
    u, d = _differentiable(upstream), _differentiable(downstream)
    exact = method == 'exact'
    noise = None if exact else RandomState.capture(devices_of([*u.values(), *d.values()]))
    behind = () if features is None else features.names
    given = {n: t for n, t in d.items() if n not in behind}
    loss = train_loss(u, given)
    leaves = {} if features is None else features.leaves()
    gradient = _grad(_scalar(loss, 'train_loss'), {**given, **leaves}, loss_scale, create_graph=exact)
    whole = gradient
    if features is not None:
        scaled = {key: None if gradient[key] is None else gradient[key].detach() * loss_scale for key in leaves}
        pulled = features.pull_back(scaled)
        whole = {**gradient, **{n: None if g is None else g / loss_scale for n, g in pulled.items()}}
    averaged = _averaged(whole, d, reduce)
    d_hat = {name: (t.detach() - rates[name] * averaged[name]).requires_grad_() for name, t in d.items()}
    return SimulatedStep(loss.detach(), u, d, gradient, d_hat, rates, noise, features)


def meta_gradient(
    step: SimulatedStep,
    train_loss: LossFunction,
    heldout_loss: LossFunction,
    method: str = 'exact',
    *,
    direct_term: bool = False,
    fd_epsilon: float = 0.01,
    loss_scale: float = 1.0,
    reduce: Reduce | None = None,
) -> MetaGradient:
    """Gradient of the meta step from the result of :func:`simulated_step` with the same ``method``.

    Arguments as :func:`upstream_gradient`.
    """
    # Detached: the path through u_hat is not the one that the notes train (METHOD 2).
    u_hat = {name: t.detach().requires_grad_(direct_term) for name, t in step.upstream.items()}
    loss = _scalar(heldout_loss(u_hat, step.downstream), 'heldout_loss')
    wanted = {
        **{('d', n): t for n, t in step.downstream.items()},
        **({('u', n): t for n, t in u_hat.items()} if direct_term else {}),
    }
    found = _grad(loss, wanted, loss_scale)
    w = _averaged({n: found['d', n] for n in step.downstream}, step.downstream, reduce)
    # From here on one vector: how the held-out loss answers to g_d, since d_hat = d - inner_lr * g_d.
    answer = {name: -step.inner_lr[name] * t for name, t in w.items()}
    local = (
        _vector_jacobian(step, answer, loss_scale)
        if method == 'exact'
        else _finite_difference(step, answer, train_loss, fd_epsilon, loss_scale)
    )
    if direct_term:
        local = {name: g if found['u', name] is None else g + found['u', name] for name, g in local.items()}
    return MetaGradient(local if reduce is None else reduce(local), loss.detach())


def _vector_jacobian(step: SimulatedStep, answer: Tensors, loss_scale: float) -> Tensors:
    """``d <g_d, answer> / du``: the second-order term, one backward pass through the graph of ``g_d``."""
    if step.features is not None:
        direction = {n: answer[n] for n in step.features.names}
        answer = {**answer, **step.features.push_forward(direction)}
    # A tensor whose gradient does not depend on u (a bias next to the loss, say) has nothing to add.
    names = [n for n, g in step.gradient.items() if g is not None and g.requires_grad]
    if not names:
        return {n: torch.zeros_like(t) for n, t in step.upstream.items()}
    # The graph of g_d was built at loss_scale and divided after it, so the products inside are of the size
    # float16 holds; a unit vector keeps the incoming side there too.
    norm = _norm({n: answer[n] for n in names}) if loss_scale != 1 else None
    scale = 1 if norm is None or not norm > 0 else norm
    vjp = torch.autograd.grad(
        [step.gradient[n] for n in names],
        list(step.upstream.values()),
        grad_outputs=[answer[n] / scale if scale is norm else answer[n] for n in names],
        allow_unused=True,
    )
    return {n: torch.zeros_like(t) if g is None else g * scale for (n, t), g in zip(step.upstream.items(), vjp)}


def _finite_difference(
    step: SimulatedStep, answer: Tensors, train_loss: LossFunction, fd_epsilon: float, loss_scale: float
) -> Tensors:
    """Difference of ``grad_u train_loss`` along ``answer``, both ends with the simulated step's noise."""
    norm = _norm(answer)
    if norm == 0:
        return {n: torch.zeros_like(t) for n, t in step.upstream.items()}
    epsilon = fd_epsilon / norm
    ends = []
    for sign in (1, -1):
        moved = {n: t.detach() + sign * epsilon * answer[n] for n, t in step.start.items()}
        with preserve_random_state(step.noise, devices_of([*step.upstream.values(), *moved.values()])):
            loss = _scalar(train_loss(step.upstream, moved), 'train_loss')
        ends.append(_averaged(_grad(loss, step.upstream, loss_scale), step.upstream, None))
    return {n: (ends[0][n] - ends[1][n]) / (2 * epsilon) for n in step.upstream}


def _grad(loss: Tensor, tensors: dict, loss_scale: float, create_graph: bool = False) -> dict:
    """Gradient by key, None where the loss does not use the tensor; scaled before and unscaled after."""
    if not loss.requires_grad:
        return dict.fromkeys(tensors)
    scaled = loss if loss_scale == 1 else loss * loss_scale
    grads = torch.autograd.grad(scaled, list(tensors.values()), create_graph=create_graph, allow_unused=True)
    if loss_scale != 1:
        grads = [None if g is None else g / loss_scale for g in grads]
    return dict(zip(tensors, grads))


def _averaged(gradient: dict[str, Tensor | None], like: Tensors, reduce: Reduce | None) -> Tensors:
    """Detached, zeros for None (all processes must reduce the same tensors), averaged over processes."""
    dense = {n: torch.zeros_like(t) if gradient[n] is None else gradient[n].detach() for n, t in like.items()}
    return dense if reduce is None else reduce(dense)


def _differentiable(tensors: Tensors) -> Tensors:
    """The tensors themselves where they require a gradient (as parameters do), else copies that do."""
    return {n: t if t.requires_grad else t.detach().requires_grad_() for n, t in tensors.items()}


def _rates(inner_lr: InnerLR, downstream: Tensors) -> dict[str, float]:
    if not isinstance(inner_lr, dict):
        return dict.fromkeys(downstream, inner_lr)
    missing = sorted(set(downstream) - set(inner_lr))
    if missing:
        raise ValueError(
            f'inner_lr has no entry for {missing[:3]} ({len(missing)} missing); give one number '
            'for all downstream tensors, or an entry for each of them'
        )
    return inner_lr


def _scalar(loss: Tensor, argument: str) -> Tensor:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f'{argument} returned {found}, expected a scalar tensor')
    return loss.reshape(())


def _norm(tensors: Tensors) -> Tensor:
    """Euclidean norm of all tensors together, a scalar; float64 sums so that large nets lose nothing."""
    return torch.stack([t.detach().double().square().sum() for t in tensors.values()]).sum().sqrt()
