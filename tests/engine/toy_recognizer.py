"""A recognizer of MMAction2, small enough for float64 references, random and stateful enough."""

from __future__ import annotations

import torch
from mmaction.registry import MODELS
from mmengine.model import BaseModule
from torch import nn

from mmdsts.evaluation.samples import labelled

CLASSES = 3
WIDTH = 6


@MODELS.register_module(force=True)
class ToyBackbone(BaseModule):
    """``(B, 3, T, H, W) -> (B, 6, T, H/2, W/2)`` with batch norm (or group norm) and dropout."""

    def __init__(self, norm: str = 'batch', dropout: float = 0.2, checkpoint: str = 'none') -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, WIDTH, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        self.norm = nn.BatchNorm3d(WIDTH) if norm == 'batch' else nn.GroupNorm(2, WIDTH)
        self.drop = nn.Dropout(dropout)
        self.last = nn.Conv3d(WIDTH, WIDTH, 1)
        self.checkpoint = checkpoint
        self.forwards = []

    def _last(self, x):
        return self.last(torch.tanh(x))

    def forward(self, x):
        self.forwards.append(torch.is_grad_enabled())
        x = self.drop(torch.relu(self.norm(self.conv(x))))
        if self.checkpoint != 'none':
            reentrant = self.checkpoint == 'reentrant'
            return torch.utils.checkpoint.checkpoint(self._last, x, use_reentrant=reentrant)
        return self._last(x)


def recognizer_config(norm='batch', dropout=0.2, neck=None, checkpoint='none', **kwargs) -> dict:
    """Config of a ``Recognizer3D`` with a DSTS neck."""
    neck_cfg = dict(
        type='DSTSNeck',
        zero_init=False,
        in_channels=WIDTH,
        num_layers=2,
        num_neurons=3,
        hidden_channels=4,
        balance_weight=0.1,
    )
    if norm != 'batch':
        neck_cfg['norm_cfg'] = dict(type='GN', num_groups=2)
    neck_cfg.update(neck or {})
    return dict(
        type='Recognizer3D',
        backbone=dict(type='ToyBackbone', norm=norm, dropout=dropout, checkpoint=checkpoint),
        neck=neck_cfg,
        cls_head=dict(
            type='I3DHead',
            num_classes=CLASSES,
            in_channels=WIDTH,
            spatial_type='avg',
            dropout_ratio=dropout,
            average_clips='prob',
        ),
        data_preprocessor=dict(
            type='ActionDataPreprocessor', mean=[0.1, 0.2, 0.3], std=[1.1, 0.9, 1.0], format_shape='NCTHW'
        ),
        **kwargs,
    )


def build_recognizer(seed: int = 0, dtype=torch.float64, **kwargs) -> nn.Module:
    """The recognizer in training mode, with parameters that a seed decides."""
    torch.manual_seed(seed)
    return MODELS.build(recognizer_config(**kwargs)).to(dtype).train()


def make_batch(size: int = 4, seed: int = 0, dtype=torch.float64) -> dict:
    """A batch as MMEngine's loader collates it."""
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(1, 3, 2, 8, 8, generator=generator, dtype=dtype) for _ in range(size)]
    labels = torch.randint(CLASSES, (size,), generator=generator)
    samples = [labelled(int(label)) for label in labels]
    return dict(inputs=inputs, data_samples=samples)


def state_of(model: nn.Module) -> dict:
    """Copies of every parameter, buffer (also those that are not saved) and gradient."""
    state = {f'parameter {n}': p.detach().clone() for n, p in model.named_parameters()}
    state.update({f'buffer {n}': b.clone() for n, b in model.named_buffers()})
    for name, parameter in model.named_parameters():
        state[f'grad {name}'] = None if parameter.grad is None else parameter.grad.clone()
    return state


def changed(before: dict, after: dict) -> set:
    """Keys that are not bit-identical."""
    assert before.keys() == after.keys()
    return {
        k
        for k, v in before.items()
        if (v is None) != (after[k] is None) or (v is not None and not torch.equal(v, after[k]))
    }
