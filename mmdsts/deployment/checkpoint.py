"""Deployed models on disk: weights and the plain config that rebuilds the model for them."""

from __future__ import annotations

import pickle
from os import PathLike
from typing import Any

import torch
from mmaction.registry import MODELS
from mmengine.registry import DefaultScope
from torch import nn

from mmdsts.version import __version__

from .deployed_neck import DeployedDSTSNeck

_KEPT = ('in_channels', 'hidden_channels', 'in_index', 'keep_stages', 'class_token', 'grid', 'act_cfg')


def deployed_config(config: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """Config that builds the deployed form of a model.

    Args:
        config: Config that built the original: of a recognizer whose ``neck`` is a ``DSTSNeck``, or of such
            a neck. It is not changed.
        model: The deployed model, as :func:`mmdsts.deploy` returned it.

    Returns:
        The same config with the neck replaced, of plain dicts, lists, strings and numbers where ``config``
        is.

    Raises:
        ValueError: If ``model`` is not deployed, or ``config`` is not that of a ``DSTSNeck`` or of a model
            with one as ``neck``.
    """
    necks = [module for module in model.modules() if isinstance(module, DeployedDSTSNeck)]
    if len(necks) != 1:
        raise ValueError(f'expected a model with one deployed DSTS neck, found {len(necks)}; make it by mmdsts.deploy')
    if _is_neck(config):
        return _neck_config(config, necks[0])
    neck = config.get('neck')
    if not (isinstance(neck, dict) and _is_neck(neck)):
        raise ValueError(
            "expected a config of type 'DSTSNeck', or one whose 'neck' is, got "
            f'type={config.get("type")!r}, neck={neck!r}'
        )
    plain = _plain(config)
    # Whatever initial weights the original asked for, the deployed ones replace them.
    if isinstance(plain.get('backbone'), dict) and 'pretrained' in plain['backbone']:
        plain['backbone']['pretrained'] = None
    plain.pop('init_cfg', None)
    return dict(plain, neck=_neck_config(neck, necks[0]))


def save_deployed(path: str | PathLike, model: nn.Module, config: dict[str, Any]) -> None:
    """Write a deployed model, so that :func:`load_deployed` needs nothing else.

    The file is a checkpoint of MMEngine too (``state_dict`` and ``meta``), and holds nothing that
    ``torch.load`` refuses by default.

    Args:
        path: File to write.
        model: The deployed model.
        config: Config that built the original, see :func:`deployed_config`.

    Raises:
        ValueError: See :func:`deployed_config`.
    """
    meta = dict(mmdsts_version=__version__, mmdsts_deployed=deployed_config(config, model))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)


def load_deployed(path: str | PathLike, device: str | torch.device = 'cpu') -> nn.Module:
    """Rebuild a deployed model from its file.

    Args:
        path: File that :func:`save_deployed` or ``tools/deploy.py`` wrote.
        device: Where the model shall be. Defaults to the CPU.

    Returns:
        The model, in evaluation.

    Raises:
        ValueError: If the file holds no deployed model.
    """
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError:  # no deployed model: it holds more than weights and plain values
        checkpoint = None
    config = checkpoint.get('meta', {}).get('mmdsts_deployed') if isinstance(checkpoint, dict) else None
    if config is None:
        raise ValueError(
            f"{path} holds no deployed model: expected meta['mmdsts_deployed'], as tools/deploy.py "
            'writes it. An ordinary checkpoint has to be deployed first'
        )
    # Whatever the caller's scope: nested configs name classes of MMAction2.
    with DefaultScope.overwrite_default_scope('mmaction'):
        model = MODELS.build(config)
    model.load_state_dict(checkpoint['state_dict'])
    return model.eval().to(device)


def _is_neck(config: dict[str, Any]) -> bool:
    # A class, or a name that may carry the scope of a registry.
    kind = config.get('type')
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2] == 'DSTSNeck'


def _neck_config(config: dict[str, Any], neck: DeployedDSTSNeck) -> dict[str, Any]:
    kept = {key: _plain(config[key]) for key in _KEPT if key in config}
    if not all(isinstance(layer.spatial_norm, nn.Identity) for layer in neck.layers):
        kept['norm_cfg'] = _plain(config['norm_cfg'])
    neurons = [list(layer.neurons) for layer in neck.layers]
    return dict(
        type='DeployedDSTSNeck',
        **kept,
        spatial_channels=[[len(neuron.spatial_index) for neuron in layer] for layer in neurons],
        temporal_channels=[[len(neuron.temporal_index) for neuron in layer] for layer in neurons],
    )


def _plain(value: Any) -> Any:
    """Config objects as plain containers, so that a safe ``torch.load`` reads them."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(entry) for entry in value)
    return value
