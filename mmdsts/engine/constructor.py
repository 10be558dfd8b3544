"""Builds the one optimizer of UDL: anyone's parameter groups, split into upstream and downstream."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator

from mmengine.logging import print_log
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from torch import nn

from .upstream import split_parameters

#: Key of an optimizer's parameter group that says what it holds.
GROUP = 'udl_group'
UPSTREAM, DOWNSTREAM = 'upstream', 'downstream'


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class UDLOptimWrapperConstructor:
    """Let another constructor make the parameter groups, then split each into upstream and downstream.

    Downstream groups come first and keep their order and options; upstream groups follow, with
    ``upstream_lr`` and ``upstream_weight_decay`` of ``optim_wrapper.udl`` where these are given. Every group
    says under ``udl_group`` what it holds. Configs need not name this class: the UDL train loops put it
    around the configured constructor.

    Some constructors refuse modules that they do not know (TSM's any module with parameters of its own,
    layer decay's any batch norm). The part of the model that holds the upstream parameters is then kept from
    them and gets the optimizer's learning rate and weight decay, vectors (norms, biases) no weight decay.

    Args:
        optim_wrapper_cfg: Config of the wrapper; beside ``type``, ``optimizer`` and the wrapper's arguments
            it may name a ``base_constructor``. Defaults to MMEngine's ``DefaultOptimWrapperConstructor``.
        paramwise_cfg: Passed to the base constructor. Defaults to None.
    """

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None) -> None:
        self.wrapper_cfg = dict(optim_wrapper_cfg)
        self.base_type = self.wrapper_cfg.pop('base_constructor', 'DefaultOptimWrapperConstructor')
        self.optimizer_cfg = self.wrapper_cfg.pop('optimizer')
        self.paramwise_cfg = paramwise_cfg

    def __call__(self, model: nn.Module):
        """Build the wrapper for ``model``, which may be a distributed wrapper.

        Raises:
            ValueError: Parameters or the optimizer's groups are in parts, each process having its own.
        """
        _refuse_sharded(model, 'FullyShardedDataParallel', 'The simulated step needs all parameters in each process')
        model = getattr(model, 'module', model)
        # Frozen ones too: they may be trained later.
        upstream, _ = split_parameters(model, trainable_only=False)
        optimizer = self._base_optimizer(model, upstream)
        _refuse_sharded(optimizer, 'ZeroRedundancyOptimizer', 'It keeps parameter groups of its own, which UDL splits')
        udl = self.wrapper_cfg.get('udl') or {}
        overrides = {
            key: udl[f'upstream_{key}'] for key in ('lr', 'weight_decay') if udl.get(f'upstream_{key}') is not None
        }
        # In place and before the first step: the optimizer holds no state yet, and each group has all its options.
        members = {id(p) for p in upstream.values()}
        optimizer.param_groups[:] = _split_groups(optimizer.param_groups, members, overrides)
        return OPTIM_WRAPPERS.build(self.wrapper_cfg, default_args=dict(optimizer=optimizer))

    def _base_optimizer(self, model: nn.Module, upstream: dict[str, nn.Parameter]):
        base = OPTIM_WRAPPER_CONSTRUCTORS.build(
            dict(
                type=self.base_type,
                paramwise_cfg=self.paramwise_cfg,
                optim_wrapper_cfg=dict(type='OptimWrapper', optimizer=self.optimizer_cfg),
            )
        )
        try:
            return base(model).optimizer
        except (AssertionError, ValueError) as error:
            holders = sorted({name.split('.')[0] for name in upstream})
            if any('.' not in name for name in upstream):
                raise
            print_log(
                f'{self.base_type} does not take {holders} ({error}): their parameters get the '
                'learning rate and weight decay of the optimizer, vectors no weight decay',
                logger='current',
            )
            with _hidden(model, holders):
                optimizer = base(model).optimizer
            named = 'param_names' in optimizer.param_groups[0]
            for vectors, extra in ((False, {}), (True, dict(weight_decay=0.0))):
                entries = [
                    (f'{holder}.{name}', p)
                    for holder in holders
                    for name, p in getattr(model, holder).named_parameters()
                    if (p.dim() <= 1) == vectors
                ]
                names, parameters = map(list, zip(*entries)) if entries else ([], [])
                # torch wants names in all groups or in none, and some constructors of MMAction2 give them.
                extra = dict(extra, params=parameters, **(dict(param_names=names) if named else {}))
                optimizer.add_param_group(extra)
            return optimizer


def _refuse_sharded(found: Any, kind: str, why: str) -> None:
    # By its name: the class is missing where torch is built without distributed.
    if kind in {parent.__name__ for parent in type(found).__mro__}:
        raise ValueError(f'UDL does not work with {kind}. {why}: use DistributedDataParallel and a plain optimizer')


def _split_groups(groups: list[dict], upstream: set[int], overrides: dict[str, float]) -> list[dict]:
    """Downstream groups, then the upstream parts of all groups; groups that end up empty are dropped."""
    result = []
    for wanted, extra in ((DOWNSTREAM, {}), (UPSTREAM, overrides)):
        for group in groups:
            keep = [(id(p) in upstream) == (wanted == UPSTREAM) for p in group['params']]
            if not any(keep):
                continue
            part = dict(group, **extra)
            # Lists as long as the parameters belong to them (torch and MMAction2 store names so).
            for key, value in group.items():
                if isinstance(value, list) and len(value) == len(keep):
                    part[key] = [entry for entry, kept in zip(value, keep) if kept]
            part[GROUP] = wanted
            result.append(part)
    return result


@contextmanager
def _hidden(model: nn.Module, names: list[str]) -> Iterator[None]:
    """Take submodules out of ``model``, and put all of them back in their order."""
    modules = dict(model._modules)
    for name in names:
        del model._modules[name]
    try:
        yield
    finally:
        model._modules.clear()
        model._modules.update(modules)
