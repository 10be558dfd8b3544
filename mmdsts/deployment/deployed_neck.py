"""The deployed DSTS neck: a module of MMAction2 like the one it came from (METHOD 1, "Test time")."""

from __future__ import annotations

import copy
from typing import Any, Sequence

from mmaction.registry import MODELS
from torch import Tensor, nn

from mmdsts.models.feature import FeatureMaps, feature_of, put_back
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
        norm_cfg: dict[str, Any] | None = None,
        act_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        width = hidden_channels or in_channels
        self.in_channels = in_channels
        self.in_index = in_index
        self.keep_stages = keep_stages
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
        deployed = cls(neck.in_channels, [], [], in_index=neck.in_index, keep_stages=neck.keep_stages)
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
            x: Shape ``(B, C, T, H, W)``, or a sequence of stages of which ``in_index`` has that shape.
            data_samples: Not used; part of MMAction2's neck contract.

        Returns:
            The output, of the shape of the feature (or all stages with it in place), and an empty dict.

        Raises:
            TypeError, ValueError: See :func:`~mmdsts.models.feature.feature_of`.
        """
        feature = feature_of(x, self.in_index, self.in_channels)
        # Not len(): it would make the batch size of an exported graph a constant.
        if feature.shape[0] == 0:
            return x if self.keep_stages else feature, {}
        hidden = self.reduce(feature)
        active = []
        for layer in self.layers:
            hidden, index = layer(hidden)
            active.append(index)
        self._record(active)
        out = feature + self.expand(hidden)
        return put_back(x, out, self.in_index, self.keep_stages), {}
