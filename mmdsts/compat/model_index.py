"""Configs of MMAction2 under the name ``mmaction::...``, which MMEngine looks up in MMAction2's model index."""

from __future__ import annotations

from typing import Any


def is_index_unreadable() -> bool:
    """Whether MMEngine by itself cannot read the model index of the installed MMAction2.

    Up to 1.1 one of its models, BSN, names a list of configs, where MMEngine expects one. No name ``mmaction::...``
    can be looked up then, before ``mmdsts`` is imported.
    """
    import mmaction
    from mmengine.utils import digit_version

    return digit_version(mmaction.__version__) < digit_version('1.2.0')


def patch_model_index() -> bool:
    """Let MMEngine read the model index of MMAction2 1.0 and 1.1: a model of several configs is as several models.

    Returns:
        bool: whether MMEngine was changed by this call.
    """
    import mmengine.config.utils

    if not is_index_unreadable() or mmengine.config.utils.load is _load:
        return False
    mmengine.config.utils.load = _load
    return True


def _load(path: str) -> Any:
    """MMEngine's ``load``, for which each model of an index has one config."""
    from mmengine.fileio import load

    index = load(path)
    if isinstance(index, dict) and 'Models' in index:
        models = []
        for model in index['Models']:
            configs = model.get('Config')
            models += [dict(model, Config=config) for config in configs] if isinstance(configs, list) else [model]
        index['Models'] = models
    return index
