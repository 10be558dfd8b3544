"""The DSTS module as an MMAction2 neck (METHOD 1)."""

from __future__ import annotations

from typing import Any, Sequence

import torch
from mmaction.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .feature import FeatureAdapter, FeatureMaps
from .layer import DSTSLayer
from .recomputation import is_repetition
from .record import RoutingRecord
from .routing import Routing, load_balance_loss


@MODELS.register_module()
class DSTSNeck(BaseModule, RoutingRecord):
    """Dynamic Spatio-Temporal Specialization between a backbone and a classification head (METHOD 1).

    ::

        backbone feature X ─┬─ [1x1x1] ── layer 1 ── ... ── layer L ── [1x1x1] ─┐
                            └───────────────── skip connection ─────────────────+──► head

    Works with MMAction2's ``Recognizer3D``; for 2D backbones use :class:`mmdsts.models.DSTSRecognizer2D`.

    Args:
        in_channels: Channels of the backbone's feature.
        num_layers: Number of layers ``L``. Defaults to 3.
        num_neurons: Neurons per layer ``N``. Defaults to 10.
        hidden_channels: Width of the layers, between a 1x1x1 convolution before and one after them; ``None``
            means the width of the feature and no such convolutions. A neuron holds ``13 C^2`` weights, so
            wide features need it. Defaults to None.
        pulse: Kind of pulse, a name in :data:`mmdsts.models.pulse.PULSES`; ``'sum'`` is the definition in the notes.
            Defaults to ``'centered'``: docs/toygym.md has the measurement behind it.
        pulse_scale: What the learned scale of ``'centered'`` starts from, against Gumbel noise of scale 1. Defaults to
            0.5.
        temperature: Temperature of the Gumbel-Softmax: how soft the gradient of the choice is, never the choice.
            Defaults to 1.
        balance_weight: Weight of the load-balance loss, logged as ``loss_balance``. 0 leaves it out. Defaults
            to 0.
        soft_prob: Probability that a gate passes its soft value in training (METHOD 1.3). Defaults to 0.
        gate_std: Standard deviation of the initial gates. Defaults to 1.
        gate_noise: Standard deviation of the gates' noise; 1 in the notes (METHOD 1.3). Defaults to 0.02.
        shared_base: Whether each layer holds what its neurons' operators have in common, learned from all samples, and
            a neuron only what it adds (:class:`~mmdsts.models.shared_base.SharedBase`). Ours, not in the notes;
            docs/evidence.md has the measurement. Defaults to False.
        zero_init: Whether the module's last convolution starts at zero, so that the neck starts as the identity
            and leaves a pretrained backbone's feature as it is. Defaults to True: docs/toygym.md has the
            measurement behind it.
        in_index: Which entry to take where the backbone returns several stages. Defaults to -1.
        keep_stages: Whether to return all stages, with entry ``in_index`` replaced, as ``SlowFastHead``
            needs. Defaults to False: only the output.
        class_token: What becomes of the class token beside a map: ``'unchanged'``, ``'add'`` or ``'return'``, see
            :class:`~mmdsts.models.feature.FeatureAdapter`. Defaults to ``'unchanged'``.
        grid: ``(T, H, W)`` of a backbone's tokens ``(B, L, C)``, or ``(1, 1, 1)`` for pooled features ``(B, C)``.
            Defaults to None: the backbone returns maps.
        norm_cfg: Norm of the layers. Defaults to ``dict(type='BN3d')``.
        act_cfg: Activation of the layers. Defaults to ``dict(type='ReLU')``.
        init_cfg: See MMEngine's ``BaseModule``. Defaults to None.

    Attributes:
        last_active: See :class:`~mmdsts.models.record.RoutingRecord`.

    Raises:
        ValueError: If a number is out of range or ``pulse`` is unknown; for features see
            :class:`~mmdsts.models.feature.FeatureAdapter`.
        TypeError: If the feature is no 5-D tensor.

    Examples:
        >>> import torch
        >>> from mmdsts.models import DSTSNeck
        >>> neck = DSTSNeck(in_channels=16, num_layers=2, num_neurons=4)
        >>> out, loss_aux = neck(torch.rand(2, 16, 4, 7, 7))
        >>> out.shape
        torch.Size([2, 16, 4, 7, 7])
    """

    #: Class of the layers.
    layer_type = DSTSLayer

    def __init__(
        self,
        in_channels: int,
        num_layers: int = 3,
        num_neurons: int = 10,
        hidden_channels: int | None = None,
        pulse: str = 'centered',
        pulse_scale: float = 0.5,
        temperature: float = 1.0,
        balance_weight: float = 0.0,
        soft_prob: float = 0.0,
        gate_std: float = 1.0,
        gate_noise: float = 0.02,
        shared_base: bool = False,
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
        width = in_channels if hidden_channels is None else hidden_channels
        sizes = dict(in_channels=in_channels, num_layers=num_layers, num_neurons=num_neurons, hidden_channels=width)
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f'{name} must be at least 1, got {value}')
        if not 0 <= soft_prob <= 1:
            raise ValueError(f'soft_prob must be a probability, got {soft_prob}')
        if temperature <= 0:
            raise ValueError(f'temperature must be positive, got {temperature}')
        if gate_noise < 0:
            raise ValueError(f'gate_noise must not be negative, got {gate_noise}')
        if balance_weight < 0:
            raise ValueError(f'balance_weight must not be negative, got {balance_weight}')
        self.adapter = FeatureAdapter(in_channels, in_index, keep_stages, class_token, grid)
        self.in_channels = in_channels
        self.num_neurons = num_neurons
        self.balance_weight = balance_weight
        self.reduce = nn.Conv3d(in_channels, width, 1) if hidden_channels is not None else nn.Identity()
        self.layers = nn.ModuleList(
            self.layer_type(
                width,
                num_neurons,
                pulse=pulse,
                pulse_scale=pulse_scale,
                temperature=temperature,
                soft_prob=soft_prob,
                gate_std=gate_std,
                gate_noise=gate_noise,
                shared_base=shared_base,
                norm_cfg=norm_cfg,
                act_cfg=act_cfg,
            )
            for _ in range(num_layers)
        )
        self.expand = nn.Conv3d(width, in_channels, 1) if hidden_channels is not None else nn.Identity()
        if zero_init:
            last = self.layers[-1].fuse if hidden_channels is None else self.expand
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self._had_graph = True

    def forward(self, x: FeatureMaps, data_samples: list | None = None) -> tuple[FeatureMaps, dict[str, Tensor]]:
        """Specialize the backbone's feature.

        Args:
            x: Shape ``(B, C, T, H, W)``, a sequence of stages of which ``in_index`` has that shape, or what else
                :class:`~mmdsts.models.feature.FeatureAdapter` takes.
            data_samples: Not used; part of MMAction2's neck contract.

        Returns:
            The output, of the shape of the feature, and what MMAction2 merges into the losses: in training
            the figures of :func:`~mmdsts.models.report.layer_report`, such as ``agreement/l{j}`` of layer ``j``
            and ``share/l{j}_n{i}`` of its neuron ``i`` (logged, not summed), and ``loss_balance`` where it is
            asked for; in evaluation nothing.
        """
        feature = self.adapter.take(x)
        if len(feature) == 0:
            return self.adapter.put_back(x, feature, feature), {}
        hidden = self.reduce(feature)
        routings = []
        for layer in self.layers:
            hidden, routing = layer(hidden)
            routings.append(routing)
        out = self.adapter.put_back(x, feature, self.expand(hidden))
        if self.training:
            loss_aux = self._losses(routings)
        else:
            self._record([routing.index for routing in routings])
            loss_aux = {}
        return out, loss_aux

    def _losses(self, routings: list[Routing]) -> dict[str, Tensor]:
        loss_aux = _on_host([layer.report(routing) for layer, routing in zip(self.layers, routings)])
        if self.balance_weight > 0:
            self._check_graph(routings)
            loss_aux['loss_balance'] = (
                self.balance_weight * torch.stack([load_balance_loss(r) for r in routings]).mean()
            )
        return loss_aux

    def _check_graph(self, routings: list[Routing]) -> None:
        """A reentrant checkpoint keeps the graph of tensors that a module returns as such, not of those inside."""
        trained = any(neuron.score.requires_grad for layer in self.layers for neuron in layer.neurons)
        if is_repetition():
            lost = not self._had_graph
        else:
            self._had_graph = torch.is_grad_enabled()
            lost = self._had_graph and not all(routing.probs.requires_grad for routing in routings)
        if trained and lost:
            raise RuntimeError(
                'balance_weight > 0 under activation checkpointing by torch.utils.checkpoint(use_reentrant=True), as '
                "MMEngine's activation_checkpointing has it: the load-balance loss would have no gradient. Leave the "
                'neck out of activation_checkpointing, or set balance_weight=0'
            )


def _on_host(reports: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Scalars of all layers, by the names to log them under."""
    figures = {f'{name}/l{j}': value for j, report in enumerate(reports) for name, value in report.items()}
    # One copy for all figures, so that logging them costs no synchronisation each.
    copied = torch.cat([value.flatten() for value in figures.values()]).cpu()
    named = {}
    for (name, value), part in zip(figures.items(), copied.split([value.numel() for value in figures.values()])):
        named.update({f'{name}_n{i}': entry for i, entry in enumerate(part)} if value.dim() else {name: part[0]})
    return named
