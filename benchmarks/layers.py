"""Layers and inputs that the suites share."""

from __future__ import annotations

from typing import Any, Callable

import torch
from torch import Tensor, nn

from mmdsts.models import DSTSLayer

from .measure import Settings


def feature(batch: int, channels: int, size: tuple[int, int, int], settings: Settings) -> Tensor:
    """A feature map as after a ReLU, shape ``(B, C, T, H, W)``."""
    torch.manual_seed(0)
    return torch.randn(batch, channels, *size, device=settings.device).relu()


def layer(channels: int, num_neurons: int, x: Tensor) -> DSTSLayer:
    """A layer whose pulses are centred on ``x``, so that all neurons are in use."""
    torch.manual_seed(0)
    made = DSTSLayer(channels, num_neurons).to(x.device)
    with torch.no_grad():
        made(x)
    return made


def training_step(module: nn.Module, x: Tensor, settings: Settings) -> Callable[[], Any]:
    """Forward and backward pass of a layer, towards its parameters and its input."""
    x = x.detach().requires_grad_()
    grad = torch.ones_like(x)
    module.train()

    def run() -> None:
        x.grad = None
        for parameter in module.parameters():
            parameter.grad = None
        with settings.autocast():
            out = module(x)[0]
        out.backward(grad.to(out.dtype))

    return run


def evaluation(module: nn.Module, x: Tensor, settings: Settings) -> Callable[[], Any]:
    """Forward pass in evaluation, without gradients."""
    module.eval()

    def run() -> Any:
        with torch.no_grad(), settings.autocast():
            return module(x)

    return run
