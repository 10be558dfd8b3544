"""What an exported graph computes: from what a pipeline packs to class scores and active neurons."""

from __future__ import annotations

import copy

import torch
from mmaction.models import ActionDataPreprocessor
from mmaction.models.recognizers import BaseRecognizer
from torch import Tensor, nn

from .conversion import deploy
from .deployed_neck import DeployedDSTSNeck
from .errors import ExportError
from .graph import GraphDSTSNeck


class ScoringPath(nn.Module):
    """A recognizer from pixels to class scores, or a neck from feature to output, with the active neurons
    as second output.

    For a recognizer the input is what the test pipeline packs, with a batch axis: ``(B, V, C, T, H, W)``
    for 3D, ``(B, V*S, C, H, W)`` for 2D backbones, pixels as float32. Where the pipeline samples more clips than ``S``,
    :meth:`~mmdsts.models.DSTSRecognizer2D.side_by_side` has to be applied first. The data preprocessor's colour order
    and normalisation are part of the path, and so is the head's averaging over views (``average_clips``).
    For a neck it is the feature, ``(B, C, T, H, W)``.

    Args:
        model: A recognizer with a DSTS neck, or such a neck, deployed or not. It is copied.

    Attributes:
        output_name: ``'scores'`` or ``'features'``.

    Raises:
        ExportError: If a part of the model has no form that a graph can hold; it names the part.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not any(isinstance(module, DeployedDSTSNeck) for module in model.modules()):
            model = deploy(model)
        necks = {
            id(module): GraphDSTSNeck.from_deployed(module)
            for module in model.modules()
            if isinstance(module, DeployedDSTSNeck)
        }
        self.model = copy.deepcopy(model, dict(necks)).eval()
        # A plain list: these are parts of the model, registered there.
        self._layers = [layer for neck in necks.values() for layer in neck.layers]
        self.is_recognizer = isinstance(self.model, BaseRecognizer)
        self.output_name = 'scores' if self.is_recognizer else 'features'
        if self.is_recognizer:
            _check_recognizer(self.model)
        elif not isinstance(self.model, DeployedDSTSNeck):
            raise ExportError(
                f'{type(model).__name__} is neither a recognizer of MMAction2 nor a DSTS neck: from what '
                'to what its graph should lead is not known. Export its neck'
            )
        elif self.model.adapter.keep_stages:
            raise ExportError(
                'a DSTSNeck with keep_stages=True returns several stages: export the recognizer it belongs to'
            )

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Run the path.

        Args:
            inputs: See the class.

        Returns:
            Class scores, shape ``(B, num_classes)`` (for a neck its output, of the shape of the input), and
            the active neurons, long, shape ``(L, B')``, with ``B'`` the number of clips that the neck saw:
            ``B V``.
        """
        active: list[Tensor] = []
        hooks = [layer.register_forward_hook(lambda module, args, out: active.append(out[1])) for layer in self._layers]
        try:
            out = self._scores(inputs) if self.is_recognizer else self.model(inputs)[0]
        finally:
            for hook in hooks:
                hook.remove()
        return out, torch.stack(active)

    def _scores(self, inputs: Tensor) -> Tensor:
        feats, head_kwargs = self.model.extract_feat(self.preprocess(inputs), test_mode=True)
        scores = self.model.cls_head(feats, **head_kwargs)
        return self.model.cls_head.average_clip(scores, num_segs=scores.shape[0] // inputs.shape[0])

    def preprocess(self, inputs: Tensor) -> Tensor:
        """Colour order and normalisation of the data preprocessor, on a batch."""
        preprocessor = self.model.data_preprocessor
        axis = inputs.dim() - (3 if preprocessor.format_shape == 'NCHW' else 4)
        if preprocessor.to_rgb:
            inputs = inputs.flip(axis)
        if preprocessor._enable_normalize:
            inputs = (inputs - preprocessor.mean) / preprocessor.std
        return inputs


def _check_recognizer(model: BaseRecognizer) -> None:
    if not model.with_cls_head:
        raise ExportError(
            f'{type(model).__name__} has no cls_head, so there are no class scores to export; export its neck'
        )
    preprocessor = model.data_preprocessor
    if type(preprocessor) is not ActionDataPreprocessor or preprocessor.format_shape not in ('NCHW', 'NCTHW'):
        raise ExportError(
            f'the data_preprocessor {type(preprocessor).__name__} (format_shape='
            f'{getattr(preprocessor, "format_shape", None)!r}) cannot be exported: expected ActionDataPreprocessor '
            "with format_shape 'NCHW' or 'NCTHW'. Export the neck alone, or replace it"
        )
    if (model.test_cfg or {}).get('max_testing_views'):
        raise ExportError(
            f'test_cfg.max_testing_views={model.test_cfg["max_testing_views"]} makes a loop over chunks '
            'of the batch, which a graph of dynamic batch size cannot hold: remove it from the config '
            'for the export'
        )
