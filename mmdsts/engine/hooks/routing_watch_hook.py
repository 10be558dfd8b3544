"""Watches whether the layers of a DSTS neck learn to decide (METHOD 1, known dangers)."""

from __future__ import annotations

import logging
import re
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch import Tensor
from torch.optim import Optimizer

from ..upstream import declared_parameters

GRADIENT = 'upstream_grad_norm'
_AGREEMENT = re.compile(r'train/agreement/l(\d+)')
_WARNED = 'routing_watch'

_COLLAPSED = (
    'DSTS layer {layer} has collapsed: neuron {neuron} took {share:.0%} of the samples of the last {window} iterations '
    'and the other {others} learn nothing. Keep the neurons in use with the load-balance loss '
    '(model.neck.balance_weight=0.01, or more) and pulses that no mean shared by all samples decides '
    "(model.neck.pulse='centered'); if it comes back, lower the rate of what decides (udl.upstream_lr) or take fewer "
    'neurons (model.neck.num_neurons)'
)
_UNDECIDED = (
    'DSTS layer {layer} does not decide: of the samples of the last {window} iterations {agreement:.0%} activated the '
    'neuron that the test would choose, where chance among {neurons} neurons gives {chance:.0%}; its neurons learn '
    'from samples that noise sends them. Train longer or at a higher rate, let pulses start larger against the noise '
    "(model.neck.pulse='centered', model.neck.pulse_scale=2; 0.5 is the default), or take fewer neurons "
    '(model.neck.num_neurons)'
)


@HOOKS.register_module()
class RoutingWatchHook(Hook):
    """Warn, once and in words, about a layer whose neurons cannot specialize; log the upstream gradient.

    It judges what the neck logs (:func:`mmdsts.models.report.layer_report`), as means over a window that a checkpoint
    carries over, so a resumed run is judged like one that never stopped:

    - a layer has *collapsed* where one neuron took at least ``collapsed`` of the samples;
    - a layer *does not decide* where agreement, between chance (0) and certainty (1), is below ``undecided``.

    Each layer is warned about once for each of the two, also across a resume. A run that is shorter than the window is
    not judged, nor are layers of one neuron.

    It logs ``upstream_grad_norm``, the Euclidean norm of the gradient of all upstream parameters (METHOD 2), where the
    optimizer wrapper does not: as the optimizer sees it, after clipping. :class:`UDLOptimWrapper` logs its own, before
    clipping.

    Args:
        window: Iterations that figures are averaged over, and between two looks. Defaults to 50.
        begin: Fraction of the training before which nothing is said: a router may take its time. In [0, 1). Defaults
            to 0.5.
        collapsed: Share of the samples, in (0, 1]. Defaults to 0.95.
        undecided: Fraction of the way from chance to certainty, in [0, 1). Defaults to a third, where six or ten
            neurons are whose pulses vary no more than the noise.

    Raises:
        ValueError: A value is out of range.
    """

    # After RuntimeInfoHook has taken over the figures of an iteration, before LoggerHook writes them.
    priority = 'NORMAL'

    def __init__(self, window: int = 50, begin: float = 0.5, collapsed: float = 0.95, undecided: float = 1 / 3) -> None:
        if window < 1:
            raise ValueError(f'window is {window}, expected a number of iterations, at least 1')
        for name, value in dict(begin=begin, undecided=undecided).items():
            if not 0 <= value < 1:
                raise ValueError(f'{name} is {value}, expected a fraction in [0, 1)')
        if not 0 < collapsed <= 1:
            raise ValueError(f'collapsed is {collapsed}, expected a fraction in (0, 1]')
        self.window = window
        self.begin = begin
        self.collapsed = collapsed
        self.undecided = undecided
        self._upstream: list[Tensor] = []
        self._norm: Tensor | None = None
        self._handle: Any = None

    def before_train(self, runner) -> None:
        """Look at the gradient before each step of an optimizer that does not report it."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._upstream = list(declared_parameters(model, trainable_only=False).values())
        optimizer = getattr(runner.optim_wrapper, 'optimizer', None)  # a dict of wrappers has none
        if self._upstream and isinstance(optimizer, Optimizer):  # a wrapper may hold something else
            self._handle = optimizer.register_step_pre_hook(self._measure)

    def after_train(self, runner) -> None:
        """Leave the optimizer as it was."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Log the gradient, and judge the layers where a window is full."""
        hub, done = runner.message_hub, runner.iter + 1
        if self._norm is not None and GRADIENT not in (outputs or {}):
            hub.update_scalar(f'train/{GRADIENT}', self._norm)
        self._norm = None
        if done % self.window == 0 and done >= self.begin * runner.max_iters:
            self._judge(hub)

    def _measure(self, optimizer, args: Any = (), kwargs: Any = None) -> None:
        norms = [p.grad.detach().norm().float() for p in self._upstream if p.grad is not None]
        # Not read here: the device need not be waited for before the step.
        self._norm = torch.stack(norms).norm() if norms else None

    def _judge(self, hub: MessageHub) -> None:
        warned = list(hub.get_info(_WARNED, []))
        for key, agreement in list(hub.log_scalars.items()):
            match = _AGREEMENT.fullmatch(key)
            if match is None or len(agreement.data[0]) < self.window:
                continue
            layer = int(match[1])
            for trouble, message in self._troubles(hub, layer, float(agreement.mean(self.window))).items():
                if f'{trouble} l{layer}' not in warned:
                    warned.append(f'{trouble} l{layer}')
                    print_log(message, logger='current', level=logging.WARNING)
        hub.update_info(_WARNED, warned)

    def _troubles(self, hub: MessageHub, layer: int, agreement: float) -> dict[str, str]:
        """What keeps the neurons of a layer from specializing, in words, by its name."""
        shares = []
        while f'train/share/l{layer}_n{len(shares)}' in hub.log_scalars:
            shares.append(float(hub.get_scalar(f'train/share/l{layer}_n{len(shares)}').mean(self.window)))
        largest, chance = max(shares), 1 / len(shares)
        troubles = {}
        if largest >= self.collapsed:
            troubles['collapsed'] = _COLLAPSED.format(
                layer=layer, neuron=shares.index(largest), share=largest, window=self.window, others=len(shares) - 1
            )
        if agreement - chance < self.undecided * (1 - chance):
            troubles['undecided'] = _UNDECIDED.format(
                layer=layer, agreement=agreement, window=self.window, neurons=len(shares), chance=chance
            )
        return troubles
