"""The feature that a neck takes from what a backbone returns, and what to set where it is none (METHOD 4)."""

from __future__ import annotations

from typing import Any, Sequence, Union

from torch import Tensor

#: What a backbone or a neck returns: one map of features, or one for each stage.
FeatureMaps = Union[Tensor, Sequence[Tensor]]


def feature_of(x: FeatureMaps, in_index: int, in_channels: int) -> Tensor:
    """Pick the feature map that a neck works on.

    Args:
        x: What the backbone returned: a map of shape ``(B, C, T, H, W)``, or a sequence of stages.
        in_index: Which stage to take.
        in_channels: Channels ``C`` that the neck was built for.

    Returns:
        The map.

    Raises:
        TypeError: If it is no 5-D tensor.
        ValueError: If there is no such stage, or it has other channels.
    """
    stages = (x,) if isinstance(x, Tensor) else x
    if len(stages) > 1 and not -len(stages) <= in_index < len(stages):
        raise ValueError(f'in_index={in_index} is none of the {_described(stages)} that the backbone returns')
    feature = x if isinstance(x, Tensor) else x[in_index]
    if not isinstance(feature, Tensor) or feature.dim() != 5:
        raise TypeError(f'DSTSNeck takes features of shape (B, C, T, H, W), got {_shape(feature)}. {_advice(feature)}')
    if feature.shape[1] == in_channels:
        return feature
    found = (
        f'DSTSNeck was built with in_channels={in_channels}, but the feature has {feature.shape[1]} channels '
        f'(shape {_shape(feature)}): expected (B, {in_channels}, T, H, W), got {_shape(feature)}'
    )
    if len(stages) > 1:
        raise ValueError(
            f'{found}. The backbone returns {_described(stages)}, of which in_index={in_index} takes one. Set in_index '
            'to the stage that you mean and in_channels to its channels; a head that takes all stages, as SlowFastHead '
            'does, needs keep_stages=True too'
        )
    if feature.shape[-1] > 4 * feature.shape[1]:
        raise ValueError(
            f'{found}. Its channels seem to come last, as those of a Swin of torchvision: set '
            f"feature_shape='NHWC' of the backbone and in_channels={feature.shape[-1]}"
        )
    raise ValueError(f'{found}; set in_channels to the width of the backbone')


def put_back(x: FeatureMaps, out: Tensor, in_index: int, keep_stages: bool) -> FeatureMaps:
    """What a neck returns: its output, or with ``keep_stages`` all stages of ``x`` with entry ``in_index`` replaced."""
    if not keep_stages or isinstance(x, Tensor):
        return out
    stages = list(x)
    stages[in_index] = out
    return tuple(stages)


def _advice(feature: Any) -> str:
    if isinstance(feature, (list, tuple)):
        return (
            'A stage of several tensors is a map with a class token, as MViT gives: set output_cls_token=False of the '
            'backbone, and take a head for maps: I3DHead, or MViTHead with with_cls_token=False and keep_stages=True '
            'of the neck'
        )
    dim = feature.dim() if isinstance(feature, Tensor) else None
    if dim in (3, 4):
        return (
            "With a 2D backbone use model type 'DSTSRecognizer2D', which hands the neck clips instead of frames; a 3D "
            'backbone has to return a map'
        )
    return (
        'The backbone has pooled time and space, and leaves nothing to specialize on. VisionTransformer (VideoMAE) '
        'returns its map with return_feat_map=True, for a head such as I3DHead; TimeSformer, UniFormerV2 and C3D have '
        'no such option: take a backbone that returns a map, such as ResNet3dSlowOnly, SwinTransformer3D or UniFormer'
    )


def _shape(feature: Any) -> str:
    if isinstance(feature, Tensor):
        return str(tuple(feature.shape))
    if isinstance(feature, (list, tuple)):
        return f'a {type(feature).__name__} of ' + ', '.join(map(_shape, feature))
    return type(feature).__name__


def _described(stages: Sequence[Any]) -> str:
    return f'{len(stages)} stages ({", ".join(map(_shape, stages))})'
