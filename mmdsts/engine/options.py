"""The ``udl`` dict of an optimizer wrapper config, checked."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from .hypergradient import METHODS

SCOPES = ('neck', 'full')
NON_FINITE = ('raise', 'skip')


@dataclass(frozen=True)
class UDLOptions:
    """Options of Upstream-Downstream Learning (METHOD 2).

    Args:
        inner_lr: Learning rate of the simulated step. Defaults to None: each parameter's present learning
            rate in the optimizer, schedules and auto-scaling included, as the notes use one rate everywhere.
        scope: ``'neck'``: the simulated step moves everything downstream but the backbone, whose features are
            constants in steps 1 and 2. ``'full'``: it moves everything downstream. Defaults to ``'neck'``.
        method: ``'exact'`` or ``'finite_difference'``, see :func:`upstream_gradient`. Defaults to ``'exact'``.
        direct_term: See :func:`upstream_gradient`. Defaults to True, where we depart from the notes: their form
            (False) leaves upstream a second-order gradient alone, too small and noisy to learn to decide by, and
            costs far more than it brings (docs/evidence.md).
        fd_epsilon: See :func:`upstream_gradient`. Defaults to 0.01.
        upstream_lr: Learning rate of the upstream groups. Defaults to None, that of the group each came from.
            Schedulers that set a rate rather than scale it (``OneCycleLR``) overrule it: see ``GroupScheduler``.
            Without the direct term the meta gradient is proportional to the inner rate: with plain SGD upstream moves
            by the square of it; optimizers that scale their steps (Adam) do not have this.
        upstream_weight_decay: Weight decay of the upstream groups. Defaults to None, as for ``upstream_lr``.
        upstream_clip_grad: Arguments of :func:`torch.nn.utils.clip_grad_norm_` for the meta step, such as
            ``dict(max_norm=1.)``. Defaults to None, no clipping. The wrapper's ``clip_grad`` is for
            downstream.
        backbone: Attribute of the model whose features the steps share; None shares nothing and needs
            ``scope='full'``. Defaults to ``'backbone'``.
        non_finite: What to do where a loss or gradient is not finite: ``'raise'`` a FloatingPointError, or
            ``'skip'`` the update with a log line and a counter (``skipped`` in the log). Defaults to
            ``'raise'``.
        log_memory: Log the peak memory (MB) of each step. On CUDA this resets the peak that MMEngine logs as
            ``memory``; on CPU it is the peak of the process so far. Defaults to False.
    """

    inner_lr: float | None = None
    scope: str = 'neck'
    method: str = 'exact'
    direct_term: bool = True
    fd_epsilon: float = 0.01
    upstream_lr: float | None = None
    upstream_weight_decay: float | None = None
    upstream_clip_grad: dict | None = None
    backbone: str | None = 'backbone'
    non_finite: str = 'raise'
    log_memory: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (('scope', SCOPES), ('method', METHODS), ('non_finite', NON_FINITE)):
            if getattr(self, name) not in allowed:
                raise ValueError(f'udl.{name} is {getattr(self, name)!r}, expected one of {allowed}')
        for name in ('inner_lr', 'upstream_lr', 'upstream_weight_decay'):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f'udl.{name} is {value}, expected a number that is not negative')
        if self.fd_epsilon <= 0:
            raise ValueError(f'udl.fd_epsilon is {self.fd_epsilon}, expected a positive number')
        if self.backbone is None and self.scope == 'neck':
            raise ValueError("udl.backbone is None, so nothing can stay out of the simulated step; set scope='full'")

    @classmethod
    def from_config(cls, config: dict[str, Any] | None) -> UDLOptions:
        """Build from a config dict.

        Raises:
            ValueError: An unknown key, or a value out of range.
        """
        config = dict(config or {})
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(config) - set(known))
        if unknown:
            raise ValueError(f'udl has unknown keys {unknown}, expected some of {known}')
        return cls(**config)
