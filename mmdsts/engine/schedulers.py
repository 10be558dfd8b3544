"""Different schedules for upstream and downstream."""

from __future__ import annotations

from functools import partial

from mmengine.optim import BaseOptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from .constructor import DOWNSTREAM, GROUP, UPSTREAM


@PARAM_SCHEDULERS.register_module(name='GroupScheduler')
def group_scheduler(optimizer: BaseOptimWrapper, group: str, policy: str, **kwargs):
    """Build a parameter scheduler of MMEngine that sees one kind of parameter groups only.

    ``dict(type='GroupScheduler', group='upstream', policy='CosineAnnealingLR', T_max=100, by_epoch=True)``;
    all other schedulers in ``param_scheduler`` still move both kinds.

    Epoch-based policies take ``convert_to_iter_based=True``, as in MMEngine. Policies that set a rate rather than scale
    it, such as ``OneCycleLR`` with its ``eta_max``, give every group the same one: here each kind can have its own.

    Args:
        optimizer: The wrapper, given by the runner.
        group: ``'upstream'`` or ``'downstream'``.
        policy: Type of the scheduler in MMEngine.
        **kwargs: Its arguments.

    Raises:
        ValueError: Unknown ``group``.
    """
    if group not in (UPSTREAM, DOWNSTREAM):
        raise ValueError(f"group is {group!r}, expected '{UPSTREAM}' or '{DOWNSTREAM}'")
    return PARAM_SCHEDULERS.build(dict(type=policy, optimizer=_GroupView(optimizer, group), **kwargs))


#: What MMEngine calls in the place of the class where ``convert_to_iter_based=True``.
group_scheduler.build_iter_from_epoch = partial(group_scheduler, convert_to_iter_based=True)


class _GroupView(BaseOptimWrapper):
    """The parameter groups of one kind, as a scheduler wants to see them."""

    #: A scheduler sets this to see whether the optimizer steps before it does; the wrapper behind the view
    # does.
    _global_step = property(lambda self: 0, lambda self, value: None)

    def __init__(self, wrapper: BaseOptimWrapper, group: str) -> None:
        self.wrapper = wrapper
        self.optimizer = wrapper.optimizer
        self.group = group

    @property
    def param_groups(self) -> list[dict]:
        groups = [group for group in self.optimizer.param_groups if group.get(GROUP) == self.group]
        base = self.wrapper.base_param_settings
        # What MMEngine logs as base_lr goes with downstream.
        return groups + ([base] if self.group == DOWNSTREAM and base is not None else [])

    def update_params(self, *args, **kwargs) -> None:
        self.wrapper.update_params(*args, **kwargs)

    def backward(self, loss, **kwargs) -> None:
        self.wrapper.backward(loss, **kwargs)

    def zero_grad(self, **kwargs) -> None:
        self.wrapper.zero_grad(**kwargs)

    def step(self, **kwargs) -> None:
        self.wrapper.step(**kwargs)
