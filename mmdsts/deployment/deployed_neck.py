"""The deployed DSTS neck: a module of MMAction2 like the one it came from (METHOD 1, "Test time")."""

from __future__ import annotations

import copy
from typing import Any, Sequence

from mmaction.registry import MODELS
from torch import Tensor, nn

from mmdsts.models.feature import FeatureAdapter, FeatureMaps
from mmdsts.models.neck import DSTSNeck
from mmdsts.models.record import RoutingRecord

from .deployed_layer import DeployedLayer


@MODELS.register_module()
class DeployedDSTSNeck(nn.Module, RoutingRecord):
    """:class:`~mmdsts.models.DSTSNeck` in evaluation, pruned and folded; made by :func:`mmdsts.deploy`.

    It takes and returns what the neck it came from takes and returns in evaluation, and cannot be trained.
    The constructor makes one of the right sizes, for weights to be loaded into; a config of it is what
    :func:`mmdsts.deployment.deployed_config` returns.

    Args:
        in_channels: Channels of the backbone's feature.
        spatial_channels: For each of the ``L`` layers and each of its ``N`` neurons, how many channels the
            spatial operator reads.
        temporal_channels: The same for the temporal operators.
        hidden_channels: Width of the layers; ``None`` means the width of the feature and no projections.
            Defaults to None.
        in_index: See :class:`~mmdsts.models.DSTSNeck`. Defaults to -1.
        keep_stages: See :class:`~mmdsts.models.DSTSNeck`. Defaults to False.
        class_token: See :class:`~mmdsts.models.DSTSNeck`. Defaults to ``'unchanged'``.
        grid: See :class:`~mmdsts.models.DSTSNeck`. Defaults to None.
        norm_cfg: Norm that could not be folded. Defaults to None: folded.
        act_cfg: Activation of the layers. Defaults to None, ``dict(type='ReLU')``.

    Attributes:
        last_active: See :class:`~mmdsts.models.record.RoutingRecord`.
    """

    def __init__(
        self,
        in_channels: int,
        spatial_channels: Sequence[Sequence[int]],
        temporal_channels: Sequence[Sequence[int]],
        hidden_channels: int | None = None,
        in_index: int = -1,
        keep_stages: bool = False,
        class_token: str = 'unchanged',
        grid: Sequence[int] | None = None,
        norm_cfg: dict[str, Any] | None = None,
        act_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        width = hidden_channels or in_channels
        self.adapter = FeatureAdapter(in_channels, in_index, keep_stages, class_token, grid)
        self.in_channels = in_channels
        self.reduce = nn.Conv3d(in_channels, width, 1) if hidden_channels else nn.Identity()
        self.layers = nn.ModuleList(
            DeployedLayer(width, s, t, norm_cfg, act_cfg) for s, t in zip(spatial_channels, temporal_channels)
        )
        self.expand = nn.Conv3d(width, in_channels, 1) if hidden_channels else nn.Identity()
        self.requires_grad_(False).eval()

    @property
    def num_neurons(self) -> int:
        """Neurons of a layer."""
        return len(self.layers[0].router.bias)

    @classmethod
    def from_neck(cls, neck: DSTSNeck) -> DeployedDSTSNeck:
        """Fold a neck; the two share no tensor.

        Raises:
            ValueError: See :meth:`DeployedLayer.from_layer`.
        """
        deployed = cls(neck.in_channels, [], [])
        deployed.adapter = neck.adapter
        deployed.reduce, deployed.expand = neck.reduce, neck.expand
        deployed.layers.extend(DeployedLayer.from_layer(layer) for layer in neck.layers)
        return copy.deepcopy(deployed).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> DeployedDSTSNeck:
        """Only evaluation is possible.

        Raises:
            RuntimeError: If ``mode`` is true.
        """
        if mode:
            raise RuntimeError(
                'a deployed DSTS neck cannot be trained: it has no gates and no scoring kernels any '
                'more. Train the model it came from and deploy it again'
            )
        return super().train(False)

    def forward(self, x: FeatureMaps, data_samples: list | None = None) -> tuple[FeatureMaps, dict[str, Tensor]]:
        """Specialize the backbone's feature.

        Args:
            x: What :class:`~mmdsts.models.feature.FeatureAdapter` takes: shape ``(B, C, T, H, W)``, or a sequence of
                stages of which ``in_index`` has that shape.
            data_samples: Not used; part of MMAction2's neck contract.

        Returns:
            What the neck it came from returns in evaluation.

        Raises:
            TypeError, ValueError: See :class:`~mmdsts.models.feature.FeatureAdapter`.
        """
        feature = self.adapter.take(x)
        # Not len(): it would make the batch size of an exported graph a constant.
        if feature.shape[0] == 0:
            return self.adapter.put_back(x, feature, feature), {}
        hidden = self.reduce(feature)
        active = []
        for layer in self.layers:
            hidden, index = layer(hidden)
            active.append(index)
        self._record(active)
        return self.adapter.put_back(x, feature, self.expand(hidden)), {}
