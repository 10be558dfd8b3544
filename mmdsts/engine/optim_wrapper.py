"""The three-step update of Upstream-Downstream Learning as an MMEngine optimizer wrapper (METHOD 2)."""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Callable, ContextManager, Iterator

import torch
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn
from torch.optim import Optimizer

from .backbone import BackbonePart, ForwardModeError, in_simulated_step, take_part
from .constructor import DOWNSTREAM, GROUP, UPSTREAM
from .hypergradient import meta_gradient, simulated_step
from .inner_scale import InnerScale
from .mixed_precision import mixed_precision, read_amp
from .model_loss import heldout_loss, train_loss
from .options import UDLOptions
from .process_mean import over_processes
from .random_state import preserve_random_state
from .step_log import StepLog
from .upstream import split_parameters


@OPTIM_WRAPPERS.register_module()
class UDLOptimWrapper(OptimWrapper):
    """Simulated, meta and actual step for any MMAction2 recognizer whose modules declare upstream parameters.

    One iteration takes two disjoint batches of the training data, which :class:`UDLEpochBasedTrainLoop` or
    :class:`UDLIterBasedTrainLoop` bring::

        simulated   d_hat = d - inner_lr * grad_d loss(u, d; train)
        meta        u' = optimizer step of the upstream groups with d loss(u_hat, d_hat(u); held-out) / du
        actual      d' = optimizer step of the downstream groups with grad_d loss(u', d; train)

    Nothing but ``u`` moves before the actual step: the first two steps run on copies of all buffers, leave
    every ``.grad`` and counter alone, and put the random generators back.

    **Random stream.** The actual step draws exactly what the step of a plain training would draw, and so does
    the simulated step: it simulates the actual step, noise included. The held-out forward draws numbers that
    follow those. After an iteration the generators stand where plain training would leave them.

    **Backbone.** It runs once on the training batch, in the simulated step, and the actual step
    backpropagates through that run; with ``scope='neck'`` it runs once more, without gradient, on the
    held-out batch. Its batch norms use the held-out batch's statistics there and move the running ones only
    in the actual step. See :class:`~mmdsts.engine.backbone.BackbonePart`, also for where nothing can be shared.

    **Gradient accumulation.** ``u`` moves once a window, in its first iteration, from the batches of that
    iteration; then the whole window accumulates the downstream gradient at this ``u'``. Iterations that do
    not open a window are plain ones.

    **Rest.** As operators of neurons that no sample activated rest in the actual step (METHOD 1.5), an
    upstream parameter whose gradient is zero in every entry rests in the meta step: no weight decay, no
    momentum.

    **Cost.** In backbone forwards F (a backward takes 2 F, plain training 3 F in all) and beside the neck's share:
    4 F with ``scope='neck'``; with ``'full'`` 11 F exact (3 F for the simulated step, 3 F for the held-out loss, 3 F
    for the forward-mode pass of the backbone, 2 F for the actual step), 11 F by finite differences.

    Args:
        optimizer: Optimizer whose groups :class:`UDLOptimWrapperConstructor` has split.
        udl: Fields of :class:`UDLOptions`. Defaults to None, all defaults.
        amp: Mixed precision, in the place of MMEngine's ``AmpOptimWrapper``: ``dict(dtype='bfloat16')`` or,
            on a GPU, ``dict(dtype='float16', loss_scale='dynamic')``. ``loss_scale`` takes what
            ``AmpOptimWrapper`` takes and only serves float16. Defaults to None, no mixed precision.
        **kwargs: ``accumulative_counts`` and ``clip_grad`` (downstream only) of MMEngine's ``OptimWrapper``.

    Examples:
        >>> # The two lines of a config that change:
        >>> optim_wrapper = dict(type='UDLOptimWrapper', optimizer=dict(type='SGD', lr=0.01))
        >>> train_cfg = dict(type='UDLEpochBasedTrainLoop', max_epochs=100)
    """

    def __init__(self, optimizer: Optimizer, udl: dict | None = None, amp: dict | None = None, **kwargs) -> None:
        super().__init__(optimizer=optimizer, **kwargs)
        self.options = UDLOptions.from_config(udl)
        self.cast_dtype, self.loss_scaler, self._fixed_scale = read_amp(amp)
        self.inner_scale = InnerScale(self.loss_scaler is not None)
        #: Updates left out because of something not finite, in the life of this wrapper and its checkpoints.
        self.skipped = 0
        self._forward_mode = True
        self._bound: nn.Module | None = None
        self._step_numbers: dict[str, float] = {}
        if self.cast_dtype is not None and self.options.method == 'finite_difference':
            print_log(
                "udl.method='finite_difference' in mixed precision: rounding is of the size of the "
                "differences, so the upstream gradient is rough; 'exact' does not have this problem",
                logger='current',
                level=logging.WARNING,
            )
        held = {group.get(GROUP) for group in optimizer.param_groups}
        if held != {UPSTREAM, DOWNSTREAM}:
            raise ValueError(
                f'UDLOptimWrapper needs an optimizer with upstream and downstream groups, but their {GROUP!r} are '
                f"{sorted(map(str, held))}. Use a UDL train loop (train_cfg.type='UDLEpochBasedTrainLoop' or "
                "'UDLIterBasedTrainLoop'), or set optim_wrapper.constructor='UDLOptimWrapperConstructor'"
            )

    def train_step(self, model: nn.Module, data: Any, heldout_data: Any) -> dict[str, Any]:
        """One UDL iteration.

        Args:
            model: Recognizer, bare or in MMEngine's distributed wrapper.
            data: Batch from the loader, not preprocessed yet.
            heldout_data: Another one, disjoint from it.

        Returns:
            What MMEngine logs: the model's ``log_vars`` of the actual step, ``heldout_loss``, ``grad_norm``
            (d) and ``upstream_grad_norm`` (u) before clipping, ``simulated_time``, ``meta_time``,
            ``actual_time`` (s), and ``skipped``.

        Raises:
            FloatingPointError: Something is not finite and ``non_finite='raise'``.
        """
        inner = _bare(model)
        self.bind(inner)
        batch = inner.data_preprocessor(data, True)
        # Iterations that do not open an accumulation window leave u alone, see the docstring.
        opens_window = self._inner_count % self._accumulative_counts == 0
        part, logged = BackbonePart(), {}
        if opens_window:
            self._find_trainable(inner)
            part = take_part(
                inner, self.options, self._upstream, self._inner_downstream, self._autocast(inner), self._forward_mode
            )
        log = StepLog(next(iter(self._upstream.values())).device, self.options.log_memory)
        if opens_window:
            try:
                with preserve_random_state():
                    logged = self._move_upstream(inner, batch, heldout_data, part, log)
            except ForwardModeError as error:
                # Nothing has moved yet: take the step again, the long way.
                print_log(
                    f'The backbone is differentiated twice from here on, which takes longer: {error}',
                    logger='current',
                    level=logging.WARNING,
                )
                self._forward_mode, part = False, BackbonePart()
                with preserve_random_state():
                    logged = self._move_upstream(inner, batch, heldout_data, part, log)
        log_vars = self._move_downstream(model, batch, part)
        log.lap('actual')
        return {**log_vars, **logged, **log.values(), 'skipped': self.skipped}

    def _move_upstream(
        self, model: nn.Module, batch: Any, heldout_data: Any, part: BackbonePart, log: StepLog
    ) -> dict[str, float]:
        """Simulated and meta step."""
        options, autocast = self.options, self._autocast(model)
        common = dict(method=options.method, loss_scale=self.inner_scale.value, reduce=self._reduce)
        on_train = partial(train_loss, model, batch, autocast, part.training)
        step = simulated_step(
            on_train, self._upstream, self._inner_downstream, self._inner_rates(), features=part.features, **common
        )
        log.lap('simulated')
        on_heldout = partial(heldout_loss, model, model.data_preprocessor(heldout_data, True), autocast, part.heldout)
        meta = meta_gradient(
            step, on_train, on_heldout, direct_term=options.direct_term, fd_epsilon=options.fd_epsilon, **common
        )
        losses = dict(loss=step.loss, heldout_loss=meta.heldout_loss)
        norm = self._step_upstream(meta.gradient, losses if self._reduce is None else self._reduce(losses))
        log.lap('meta')
        return dict(heldout_loss=meta.heldout_loss.item(), upstream_grad_norm=norm)

    def _step_upstream(self, gradient: dict[str, Tensor], losses: dict[str, Tensor]) -> float:
        """Optimizer step of the upstream groups alone; returns the norm before clipping."""
        largest = torch.stack([g.abs().max().float() for g in gradient.values()]).tolist()
        with self._groups(UPSTREAM):
            for (name, parameter), value in zip(self._upstream.items(), largest):
                # NaN is not 0: it reaches the norm.
                parameter.grad = None if value == 0 else gradient[name].to(parameter.dtype)
            norm = _norm(self._upstream.values())
            numbers = dict(upstream_grad_norm=norm, **{name: loss.item() for name, loss in losses.items()})
            finite = all(map(math.isfinite, numbers.values()))
            if (not self.inner_scale.enabled or self.inner_scale.accepts(finite)) and self._usable(numbers):
                if self.options.upstream_clip_grad is not None:
                    nn.utils.clip_grad_norm_(list(self._upstream.values()), **self.options.upstream_clip_grad)
                self.optimizer.step()
            for parameter in self._upstream.values():
                parameter.grad = None
        return norm

    def _move_downstream(self, model: nn.Module, batch: Any, part: BackbonePart) -> dict[str, Any]:
        """Actual step: that of plain training, but through the recorded backbone and without upstream groups."""
        with self.optim_context(model), part.actual():
            losses = model(**batch, mode='loss') if isinstance(batch, dict) else model(*batch, mode='loss')
        loss, log_vars = _bare(model).parse_losses(losses)
        self._step_numbers = dict(loss=loss.item()) if get_world_size() == 1 else {}
        self.backward(self.scale_loss(loss))
        if not self.should_update():
            return dict(log_vars)
        self.step()
        self.zero_grad()
        return dict(log_vars, grad_norm=self._step_numbers['grad_norm'])

    def backward(self, loss: Tensor, **kwargs) -> None:
        """Backpropagate the actual step's loss, scaled in float16."""
        super().backward(loss if self.loss_scaler is None else self.loss_scaler.scale(loss), **kwargs)

    def step(self, **kwargs) -> None:
        """Clip and step the downstream groups."""
        with self._groups(DOWNSTREAM):
            if self.loss_scaler is not None:
                self.loss_scaler.unscale_(self.optimizer)
            parameters = [p for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]
            numbers = self._step_numbers
            numbers['grad_norm'] = _norm(parameters)
            if self.loss_scaler is None and not self._usable(numbers):
                return
            if self.clip_grad_kwargs and parameters:
                self.clip_func(parameters, **self.clip_grad_kwargs)
            if self.loss_scaler is None:
                self.optimizer.step(**kwargs)
            else:
                # Skips by itself what is not finite: that is how the scale is found.
                self.loss_scaler.step(self.optimizer, **kwargs)
                self.loss_scaler.update(self._fixed_scale)

    def update_params(self, *args, **kwargs) -> None:
        """Not available: a UDL iteration needs a held-out batch.

        Raises:
            RuntimeError: Always; the message names the loops that bring one.
        """
        raise RuntimeError(
            'UDLOptimWrapper was asked for a plain update. It needs a held-out batch, which train_cfg.type='
            "'UDLEpochBasedTrainLoop' or 'UDLIterBasedTrainLoop' bring; for plain training use "
            "type='OptimWrapper'"
        )

    def _usable(self, numbers: dict[str, float]) -> bool:
        """Whether all numbers are finite; what happens otherwise is ``udl.non_finite``."""
        bad = {name: value for name, value in numbers.items() if not math.isfinite(value)}
        if not bad:
            return True
        found = ', '.join(f'{name} = {value}' for name, value in bad.items())
        if self.options.non_finite == 'raise':
            raise FloatingPointError(
                f'UDL update number {self._inner_count}: {found}. Lower the learning '
                "rate or udl.inner_lr, clip gradients, or set udl.non_finite='skip'"
            )
        self.skipped += 1
        print_log(
            f'UDL update number {self._inner_count} skipped: {found} ({self.skipped} skipped so far)',
            logger='current',
            level=logging.WARNING,
        )
        return False

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """See MMEngine; also checks that UDL can train ``model``."""
        super().initialize_count_status(model, init_counts, max_counts)
        self.bind(_bare(model))

    def bind(self, model: nn.Module) -> None:
        """Find the parameters that the steps move; does nothing for a model it has seen.

        Args:
            model: The bare model.

        Raises:
            ValueError: The model has no upstream parameters, they are not the optimizer's, ``scope`` does not
                fit the model, or SyncBN is in the way.
        """
        if self._bound is model:
            return
        upstream, downstream = split_parameters(model, trainable_only=False)
        self._group_of = {id(p): group for group in self.optimizer.param_groups for p in group['params']}
        # What the optimizer does not train, the simulated step does not move either.
        trained = {n: p for n, p in downstream.items() if id(p) in self._group_of}
        self._split = upstream, in_simulated_step(model, self.options, upstream, trained)
        self._reduce = over_processes()
        self._find_trainable(model)
        self._check_modules(model)
        self._bound = model

    def _find_trainable(self, model: nn.Module) -> None:
        """Ask which parameters are trained now: backbones freeze theirs in ``train()``, hooks between epochs."""
        self._upstream, self._inner_downstream = (
            {n: p for n, p in tensors.items() if p.requires_grad} for tensors in self._split
        )
        for name, parameter in self._upstream.items():
            if self._group_of.get(id(parameter), {}).get(GROUP) != UPSTREAM:
                raise ValueError(
                    f'upstream parameter {name!r} of {type(model).__name__} is in no upstream group of '
                    'the optimizer; build the optimizer for this model, with UDLOptimWrapperConstructor'
                )
        for tensors, what in ((self._upstream, 'upstream'), (self._inner_downstream, 'downstream')):
            if not tensors:
                raise ValueError(
                    f'udl.scope={self.options.scope!r} leaves no trainable {what} parameters in '
                    f'{type(model).__name__}: all others are frozen (requires_grad=False)'
                )

    def _check_modules(self, model: nn.Module) -> None:
        left_out = f'{self.options.backbone}.' if self.options.scope == 'neck' else None
        for name, module in model.named_modules():
            if left_out and f'{name}.'.startswith(left_out):
                continue
            twice = self.options.method == 'exact' and get_world_size() > 1
            if twice and isinstance(module, nn.SyncBatchNorm):
                raise ValueError(
                    f'{name!r} is a SyncBatchNorm, which cannot be differentiated twice: set '
                    "udl.method='finite_difference', or use another norm where the simulated "
                    'step goes'
                )
        if isinstance(model, BaseModel) and type(model).train_step is not BaseModel.train_step:
            print_log(
                f'{type(model).__name__} has a train_step of its own, which UDL does not call',
                logger='current',
                level=logging.WARNING,
            )

    def _inner_rates(self) -> float | dict[str, float]:
        if self.options.inner_lr is not None:
            return self.options.inner_lr
        return {name: self._group_of[id(p)]['lr'] for name, p in self._inner_downstream.items()}

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Mixed precision, and no gradient synchronisation inside an accumulation window."""
        with super().optim_context(model), self._autocast(_bare(model))():
            yield

    def _autocast(self, model: nn.Module) -> Callable[[], ContextManager]:
        """Makes the context of one forward of the bare model."""
        return nullcontext if self.cast_dtype is None else partial(mixed_precision, model, self.cast_dtype)

    @contextmanager
    def _groups(self, which: str) -> Iterator[None]:
        """Show the optimizer one kind of groups only: counters it keeps per group count the right steps."""
        groups = self.optimizer.param_groups
        self.optimizer.param_groups = [group for group in groups if group[GROUP] == which]
        try:
            yield
        finally:
            self.optimizer.param_groups = groups

    def get_lr(self) -> dict[str, list[float]]:
        """Learning rates to log: ``lr`` of the downstream groups first, and ``upstream_lr``."""
        upstream = [group['lr'] for group in self.optimizer.param_groups if group[GROUP] == UPSTREAM]
        return dict(super().get_lr(), upstream_lr=upstream)

    def state_dict(self) -> dict:
        """State of the optimizer, of the loss scaler under MMEngine's name, and what UDL counts."""
        state = super().state_dict()
        if self.loss_scaler is not None:
            state['loss_scaler'] = self.loss_scaler.state_dict()
        state['udl'] = dict(skipped=self.skipped, inner_scale=self.inner_scale.state_dict())
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Load a state of this wrapper.

        Raises:
            ValueError: The state is that of an optimizer whose groups are not split.
        """
        state = dict(state_dict)
        if any(GROUP not in group for group in state['param_groups']):
            raise ValueError(
                'the checkpoint was written without UDL: its optimizer has no upstream and downstream '
                'groups to resume from; start from its weights (load_from) instead of resuming'
            )
        scaler, udl = state.pop('loss_scaler', None), state.pop('udl', None)
        if scaler is not None and self.loss_scaler is not None:
            self.loss_scaler.load_state_dict(scaler)
        if udl is not None:
            self.skipped = udl['skipped']
            self.inner_scale.load_state_dict(udl['inner_scale'])
        super().load_state_dict(state)
        self._bound = None  # the groups are new dicts


def _bare(model: nn.Module) -> nn.Module:
    """The model without its distributed wrapper."""
    return model.module if is_model_wrapper(model) else model


def _norm(parameters) -> float:
    """Euclidean norm of all gradients that are there, 0 if there are none."""
    norms = [p.grad.detach().norm().float() for p in parameters if p.grad is not None]
    return torch.stack(norms).norm().item() if norms else 0.0
