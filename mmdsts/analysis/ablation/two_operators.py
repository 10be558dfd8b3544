"""The layers of DSTS without what specializes them: what a wider or busier plain module would do in their place."""

from __future__ import annotations

from typing import Any, Sequence

from mmaction.registry import MODELS
from mmcv.cnn import build_activation_layer, build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdsts.models.feature import FeatureAdapter, FeatureMaps
from mmdsts.models.recomputation import statistics_once


class TwoOperatorLayer(nn.Module):
    """Spatial and temporal operator on all channels, for all samples alike: no neurons, no gates (METHOD 1.4).

    ::

        X ─┬─ 1x3x3 ── BN ── ReLU ─┐
           │                       + ── 1x1x1 conv ──► Z'
           └─ 3x1x1 ── BN ── ReLU ─┘

    Args:
        channels: Number of channels ``C``, kept by the layer.
        width: Output channels of both operators.
        norm_cfg: Norm after each operator.
        act_cfg: Activation after each norm.
    """

    def __init__(self, channels: int, width: int, norm_cfg: dict[str, Any], act_cfg: dict[str, Any]) -> None:
        super().__init__()
        self.spatial = nn.Conv3d(channels, width, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.temporal = nn.Conv3d(channels, width, (3, 1, 1), padding=(1, 0, 0), bias=False)
        for operator in (self.spatial, self.temporal):
            nn.init.kaiming_normal_(operator.weight, nonlinearity='relu')
        self.spatial_norm = build_norm_layer(norm_cfg, width)[1]
        self.temporal_norm = build_norm_layer(norm_cfg, width)[1]
        self.activation = build_activation_layer(act_cfg)
        self.fuse = nn.Conv3d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layer; shapes ``(B, C, T, H, W)``."""
        with statistics_once(self.spatial_norm, self.temporal_norm):
            spatial = self.activation(self.spatial_norm(self.spatial(x)))
            temporal = self.activation(self.temporal_norm(self.temporal(x)))
        return self.fuse(spatial + temporal)


@MODELS.register_module()
class TwoOperatorNeck(BaseModule):
    """The module of METHOD 1 with one plain layer in the place of each layer of specialized neurons.

    Skip connection, projections and start as the identity are those of :class:`~mmdsts.models.DSTSNeck`, so that
    the two differ in neurons and gates alone. A layer does twice the work of a DSTS layer of its width, whose
    gates send each channel to one operator only.

    Args:
        in_channels: Channels of the backbone's feature.
        num_layers: Number of layers. Defaults to 3.
        hidden_channels: As in ``DSTSNeck``: width of the layers between a 1x1x1 convolution before and one after
            them; ``None`` means the width of the feature and no such convolutions. Defaults to None.
        operator_channels: Output channels of the two operators inside each layer, before the fusion brings them
            back to the width of the layer; parameters and work grow in proportion. Defaults to None, the width of
            the layer, as in DSTS.
        zero_init: Whether the module starts as the identity. Defaults to True.
        in_index: Which entry to take where the backbone returns several stages. Defaults to -1.
        keep_stages: Whether to return all stages, with entry ``in_index`` replaced. Defaults to False.
        class_token: As in ``DSTSNeck``. Defaults to ``'unchanged'``.
        grid: As in ``DSTSNeck``. Defaults to None.
        norm_cfg: Norm of the layers. Defaults to ``dict(type='BN3d')``.
        act_cfg: Activation of the layers. Defaults to ``dict(type='ReLU')``.
        init_cfg: See MMEngine's ``BaseModule``. Defaults to None.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> import torch
        >>> from mmdsts.analysis.ablation import TwoOperatorNeck
        >>> out, loss_aux = TwoOperatorNeck(in_channels=16, num_layers=2)(torch.rand(2, 16, 4, 7, 7))
        >>> out.shape, loss_aux
        (torch.Size([2, 16, 4, 7, 7]), {})
    """

    def __init__(
        self,
        in_channels: int,
        num_layers: int = 3,
        hidden_channels: int | None = None,
        operator_channels: int | None = None,
        zero_init: bool = True,
        in_index: int = -1,
        keep_stages: bool = False,
        class_token: str = 'unchanged',
        grid: Sequence[int] | None = None,
        norm_cfg: dict[str, Any] = dict(type='BN3d'),
        act_cfg: dict[str, Any] = dict(type='ReLU'),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        channels = in_channels if hidden_channels is None else hidden_channels
        width = channels if operator_channels is None else operator_channels
        sizes = dict(in_channels=in_channels, num_layers=num_layers, hidden_channels=channels, operator_channels=width)
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f'{name} must be at least 1, got {value}')
        self.adapter = FeatureAdapter(in_channels, in_index, keep_stages, class_token, grid)
        self.in_channels = in_channels
        self.reduce = nn.Conv3d(in_channels, channels, 1) if hidden_channels is not None else nn.Identity()
        self.layers = nn.ModuleList(TwoOperatorLayer(channels, width, norm_cfg, act_cfg) for _ in range(num_layers))
        self.expand = nn.Conv3d(channels, in_channels, 1) if hidden_channels is not None else nn.Identity()
        if zero_init:
            last = self.layers[-1].fuse if hidden_channels is None else self.expand
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: FeatureMaps, data_samples: list | None = None) -> tuple[FeatureMaps, dict[str, Tensor]]:
        """Run the module.

        Args:
            x: Shape ``(B, C, T, H, W)``, or a sequence of stages of which ``in_index`` has that shape.
            data_samples: Not used; part of MMAction2's neck contract.

        Returns:
            The output, of the shape of the feature, and no losses.
        """
        feature = self.adapter.take(x)
        hidden = self.reduce(feature)
        for layer in self.layers:
            hidden = layer(hidden)
        return self.adapter.put_back(x, feature, self.expand(hidden)), {}
