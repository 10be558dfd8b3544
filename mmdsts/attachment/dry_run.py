"""A forward pass without data and without arithmetic, to see what a backbone hands to what comes after it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator, NamedTuple

import torch
from mmaction.models.recognizers import Recognizer2D
from mmaction.registry import MODELS
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmdsts.engine.random_state import preserve_random_state
from mmdsts.engine.update_config import plain
from mmdsts.errors import CONFIG_MISTAKES, UsageError, one_line
from mmdsts.models.building import quietly, without_weights
from mmdsts.models.feature import FeatureAdapter

from .sampling import Sampling

#: Videos in the dry run.
VIDEOS = 2


class DryRun(NamedTuple):
    """What was seen.

    Attributes:
        features: What the backbone returned: tensors in tuples and lists, without values.
        read: Of each tensor in it, by its identity, whether the scores depend on it.
        scores: Shape of the scores of the head, ``(views, num_classes)``.
        model: The model, without values.
    """

    features: Any
    read: dict[int, bool]
    scores: tuple[int, ...]
    model: nn.Module

    @property
    def parameters(self) -> int:
        """Values that the model holds as parameters."""
        return count_parameters(self.model)


def count_parameters(module: nn.Module) -> int:
    """Values in the parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def build(model_cfg: dict, name: str, device: str = 'cpu') -> nn.Module:
    """A model in evaluation mode; no weights are loaded.

    Args:
        model_cfg: Its config.
        name: Of the whole config, for errors.
        device: Where it is built. On ``'meta'`` it has no values, and no time is spent on random ones. Defaults to
            ``'cpu'``.

    Raises:
        UsageError: It cannot be built.
    """
    config = without_weights(plain(model_cfg))
    try:
        with DefaultScope.overwrite_default_scope('mmaction'), preserve_random_state(), quietly():
            with torch.device(device):
                model = MODELS.build(config)
            return model.to(device).eval()
    except (*CONFIG_MISTAKES, RuntimeError) as error:
        raise UsageError(f'config {name}: model cannot be built: {one_line(error)}') from error


def dry_run(model_cfg: dict, sampling: Sampling, name: str, head: bool = True) -> DryRun:
    """Build a recognizer and run it on two videos of no content.

    Shapes alone are computed, on torch's device ``meta``; a model that has to see values runs on the CPU.

    Args:
        model_cfg: Config of the recognizer.
        sampling: What the pipeline hands to it.
        name: Of the whole config, for errors.
        head: Whether to run what comes after the backbone, too. Defaults to True.

    Raises:
        UsageError: The model cannot be built, or does not take what the pipeline hands to it.
    """
    try:
        try:
            model = build(model_cfg, name, 'meta')
        except UsageError:  # some constructors compute with values
            model = build(model_cfg, name).to('meta')
        return run(model, sampling, name, head)
    except UsageError:  # so does a forward; what is wrong with the config comes again
        return run(build(model_cfg, name), sampling, name, head)


def run(model: nn.Module, sampling: Sampling, name: str, head: bool = True) -> DryRun:
    """Run a built recognizer; arguments and errors as for :func:`dry_run`."""
    inputs = torch.zeros(_input_shape(model, sampling), device=next(model.parameters()).device)
    try:
        with preserve_random_state():
            return _run(model, inputs, head)
    except (*CONFIG_MISTAKES, RuntimeError) as error:
        raise UsageError(
            f'config {name}: the model does not run on what its pipeline gives, inputs of shape '
            f'{tuple(inputs.shape)}: {one_line(error)}'
        ) from error


class NeckStandIn(nn.Module):
    """What a neck makes of features as far as shapes go: it adds nothing, and hands on what the adapter returns.

    Args:
        adapter: That of the neck.
        then: Neck that comes after it. Defaults to None.
    """

    def __init__(self, adapter: FeatureAdapter, then: nn.Module | None = None) -> None:
        super().__init__()
        self.adapter = adapter
        self.in_channels = adapter.in_channels
        self.then = then

    def forward(self, x: Any, data_samples: list | None = None) -> tuple[Any, dict]:
        """See ``DSTSNeck``."""
        feature = self.adapter.take(x)
        x = self.adapter.put_back(x, feature, torch.zeros_like(feature))
        return (x, {}) if self.then is None else self.then(x, data_samples=data_samples)


def _input_shape(model: nn.Module, sampling: Sampling) -> tuple[int, ...]:
    channels = next((m.in_channels for m in model.backbone.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))), 3)
    if isinstance(model, Recognizer2D):
        return (VIDEOS, sampling.frames, channels, *sampling.size)
    return (VIDEOS, 1, channels, sampling.clip_len, *sampling.size)


def _run(model: nn.Module, inputs: Tensor, head: bool) -> DryRun:
    model.requires_grad_(False)
    seen: dict[str, Any] = {}
    with _kept(model, seen), torch.enable_grad():
        scores = model.extract_feat(inputs, stage='head' if head else 'backbone')[0]
    features = seen['features']
    if not head:
        return DryRun(features, {}, (), model)
    tensors = tensors_of(features)
    gradients = torch.autograd.grad(scores.sum(), tensors, allow_unused=True) if scores.requires_grad else []
    read = {id(tensor): False for tensor in tensors}
    read.update((id(tensor), gradient is not None) for tensor, gradient in zip(tensors, gradients))
    return DryRun(features, read, tuple(scores.shape), model)


@contextmanager
def _kept(model: nn.Module, seen: dict[str, Any]) -> Iterator[None]:
    """Keep what the backbone hands on, each tensor as a leaf that the scores can be derived by."""
    if isinstance(model, Recognizer2D):
        # After frames have become maps, from whichever method of the backbone.
        holder, method = model, '_forward_backbone'
    else:
        holder, method = model.backbone, 'forward'
    original = getattr(holder, method)

    def run(*args: Any, **kwargs: Any) -> Any:
        seen['features'] = _as_leaves(original(*args, **kwargs))
        return seen['features']

    setattr(holder, method, run)
    try:
        yield
    finally:
        delattr(holder, method)


def tensors_of(output: Any) -> list[Tensor]:
    """All tensors of nested tuples and lists."""
    if isinstance(output, Tensor):
        return [output]
    return [t for part in output for t in tensors_of(part)] if isinstance(output, (list, tuple)) else []


def _as_leaves(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.detach().requires_grad_()
    return type(output)(_as_leaves(part) for part in output) if isinstance(output, (list, tuple)) else output
