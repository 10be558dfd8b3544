"""A schedule for the temperature of the synaptic mechanism (METHOD 1.2, "Known dangers")."""

from __future__ import annotations

import math
from operator import attrgetter

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

POLICIES = ('linear', 'cosine', 'exponential')


@HOOKS.register_module()
class TemperatureHook(Hook):
    """Anneal ``temperature`` of a module over the training.

    The value is a function of the iteration alone, so a resumed run continues it. It is logged as
    ``temperature``.

    Args:
        start: Temperature of the first iteration, positive.
        end: Temperature from iteration ``until * max_iters`` on, positive.
        policy: ``'linear'``, ``'cosine'`` (half a wave) or ``'exponential'`` (constant ratio). Defaults to
            ``'cosine'``.
        until: Fraction of the training after which ``end`` holds, in (0, 1]. Defaults to 1.
        module: Path of the module in the model. Defaults to ``'neck'``.

    Raises:
        ValueError: A value out of range, or a module without a ``temperature``.
    """

    priority = 'NORMAL'

    def __init__(
        self, start: float, end: float, policy: str = 'cosine', until: float = 1.0, module: str = 'neck'
    ) -> None:
        if min(start, end) <= 0:
            raise ValueError(f'start and end are {start} and {end}, expected positive temperatures')
        if policy not in POLICIES:
            raise ValueError(f'policy is {policy!r}, expected one of {POLICIES}')
        if not 0 < until <= 1:
            raise ValueError(f'until is {until}, expected a fraction in (0, 1]')
        self.start = start
        self.end = end
        self.policy = policy
        self.until = until
        self.module = module

    def value(self, progress: float) -> float:
        """Temperature at a fraction of the training."""
        x = min(progress / self.until, 1.0)
        if self.policy == 'exponential':
            return self.start * (self.end / self.start) ** x
        if self.policy == 'cosine':
            x = (1 - math.cos(math.pi * x)) / 2
        return self.start + (self.end - self.start) * x

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Set and log the temperature of this iteration."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        try:
            module = attrgetter(self.module)(model)
            module.temperature  # noqa: B018
        except AttributeError as error:
            raise ValueError(
                f'TemperatureHook: {type(model).__name__} has no {self.module!r} with a '
                f'temperature ({error}); set module to the path of a DSTS neck'
            ) from error
        module.temperature = self.value(runner.iter / max(runner.max_iters, 1))
        runner.message_hub.update_scalar('train/temperature', module.temperature)
