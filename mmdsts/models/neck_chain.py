"""Several necks one after the other, for recognizers that have one already, such as TPN's."""

from __future__ import annotations

from typing import Any

from mmaction.registry import MODELS
from mmengine.model import BaseModule, ModuleList
from torch import Tensor

from .feature import FeatureMaps


@MODELS.register_module()
class NeckChain(BaseModule):
    """Necks of MMAction2, each working on what the one before it returns.

    A checkpoint of the recognizer with its last neck alone fits: the weights go to that neck.

    Args:
        necks: Configs of the necks. All but the last hand on what the next one takes: ``DSTSNeck`` before ``TPN``
            needs ``keep_stages=True``.
        init_cfg: See MMEngine's ``BaseModule``. Defaults to None.

    Raises:
        ValueError: If there are no necks, or two add a loss of the same name.
    """

    def __init__(self, necks: list[dict], init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        if not necks:
            raise ValueError('necks is empty, expected configs of at least one neck')
        self.necks = ModuleList(MODELS.build(neck) for neck in necks)

    def forward(self, x: FeatureMaps, data_samples: list | None = None) -> tuple[FeatureMaps, dict[str, Tensor]]:
        """Features through all necks, and the losses of all."""
        losses: dict[str, Tensor] = {}
        for neck in self.necks:
            x, added = neck(x, data_samples=data_samples)
            twice = sorted(losses.keys() & added.keys())
            if twice:
                raise ValueError(f'two necks of the chain add {twice}; each needs names of its own')
            losses.update(added)
        return x, losses

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        own = f'{prefix}necks.'
        names = [name for name in state_dict if name.startswith(prefix)]
        if names and not any(name.startswith(own) for name in names):
            for name in names:
                state_dict[f'{own}{len(self.necks) - 1}.{name[len(prefix) :]}'] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
