"""The feature that a neck takes from what a backbone returns, and what to set where it is none (METHOD 4)."""

from __future__ import annotations

from typing import Any, Sequence, Union

from torch import Tensor

from .tokens import TokenGrid

#: What a backbone or a neck returns: one map of features, or one for each stage.
FeatureMaps = Union[Tensor, Sequence[Tensor]]

#: What becomes of the class token (or of other features that a backbone has pooled itself) beside a map.
CLASS_TOKENS = ('unchanged', 'add', 'return')


class FeatureAdapter:
    """Takes from what a backbone returns the map that a neck works on, and puts the neck's output in its place.

    ::

        backbone returns                       the neck works on     and returns
        (B, C, T, H, W)                        this map              a map
        stages (x_1, ..., x_n)                 map of in_index       its map; with keep_stages all stages
        stage [map, class token (B, C)]        the map               the map; with keep_stages [map, class token];
                                                                     with class_token='return' the token alone
        tokens (B, L, C), with ``grid``        folded tokens         tokens
        pooled (B, C), with grid (1, 1, 1)     (B, C, 1, 1, 1)       pooled

    Args:
        in_channels: Channels ``C`` that the neck was built for.
        in_index: Which stage to take. Defaults to -1.
        keep_stages: Whether to return all stages. Defaults to False: only the output.
        class_token: ``'unchanged'``: it passes by. ``'add'``: it gets the mean over time and space of what the neck
            adds to the map, for heads that read the token in the place of the map: the class token is the backbone's
            summary of the map, and so stays a summary. ``'return'``: as ``'add'``, and the token ``(B, C)`` alone is
            returned, for heads that take pooled features. Defaults to ``'unchanged'``.
        grid: ``(T, H, W)`` of tokens, see :class:`~mmdsts.models.tokens.TokenGrid`. Defaults to None: no tokens.

    Raises:
        ValueError: If ``class_token`` or ``grid`` is none of these.
    """

    def __init__(
        self,
        in_channels: int,
        in_index: int = -1,
        keep_stages: bool = False,
        class_token: str = 'unchanged',
        grid: Sequence[int] | None = None,
    ) -> None:
        if class_token not in CLASS_TOKENS:
            raise ValueError(f'class_token must be one of {CLASS_TOKENS}, got {class_token!r}')
        self.in_channels = in_channels
        self.in_index = in_index
        self.keep_stages = keep_stages
        self.class_token = class_token
        self.tokens = None if grid is None else TokenGrid(grid)

    def take(self, x: FeatureMaps) -> Tensor:
        """The map that a neck works on.

        Args:
            x: What the backbone returned.

        Returns:
            Shape ``(B, C, T, H, W)``.

        Raises:
            TypeError: If there is none.
            ValueError: If there is no such stage, or it has other channels.
        """
        stages = (x,) if isinstance(x, Tensor) else x
        if not isinstance(x, Tensor) and not -len(stages) <= self.in_index < len(stages):
            raise ValueError(f'in_index={self.in_index} is none of the {_described(stages)} that the backbone returns')
        if self.class_token == 'return' and not is_map_with_token(x if isinstance(x, Tensor) else x[self.in_index]):
            raise TypeError(
                "class_token='return' takes a stage [map (B, C, T, H, W), class token (B, C)], got "
                f'{_shape(x)}. Leave class_token out, or take a backbone that returns both, such as MViT or '
                "'TimeSformerWithMap'"
            )
        feature = self.stage(x)
        _check(feature, stages, self.in_index, self.in_channels)
        return feature

    def stage(self, x: FeatureMaps) -> Any:
        """The map as :meth:`take` takes it, whatever its shape."""
        if self._is_tokens(x):
            return self.tokens.fold(x if x.dim() == 3 else x[:, None])
        stage = x if isinstance(x, Tensor) else x[self.in_index]
        return stage[0] if is_map_with_token(stage) else stage

    def put_back(self, x: FeatureMaps, feature: Tensor, added: Tensor) -> FeatureMaps:
        """What a neck returns.

        Args:
            x: What the backbone returned.
            feature: What :meth:`take` made of it.
            added: What the neck adds to the feature, of its shape.
        """
        out = feature + added
        if self._is_tokens(x):
            if x.dim() == 2:
                return out.flatten(1)
            return self.tokens.unfold(out, self._summary(self.tokens.class_token(x), added))
        stage = x if isinstance(x, Tensor) else x[self.in_index]
        if is_map_with_token(stage):
            token = self._summary(stage[1], added)
            if self.class_token == 'return':
                return token
            replaced: Any = [out, token]
        else:
            replaced = out
        if not self.keep_stages or isinstance(x, Tensor):
            return out
        stages = list(x)
        stages[self.in_index] = replaced
        return tuple(stages)

    def _is_tokens(self, x: Any) -> bool:
        if self.tokens is None or not isinstance(x, Tensor):
            return False
        return x.dim() == 3 or (x.dim() == 2 and self.tokens.grid == (1, 1, 1))

    def _summary(self, class_token: Tensor | None, added: Tensor) -> Tensor | None:
        if class_token is None or self.class_token == 'unchanged':
            return class_token
        return class_token + added.mean((2, 3, 4))


def is_map_with_token(stage: Any) -> bool:
    """Whether a stage is ``[map (B, C, T, H, W), class token (B, C)]``, as MViT returns it."""
    return (
        isinstance(stage, (list, tuple))
        and len(stage) == 2
        and all(isinstance(part, Tensor) for part in stage)
        and (stage[0].dim(), stage[1].dim()) == (5, 2)
    )


def _check(feature: Any, stages: Sequence[Any], in_index: int, in_channels: int) -> None:
    if not isinstance(feature, Tensor) or feature.dim() != 5:
        raise TypeError(f'DSTSNeck takes features of shape (B, C, T, H, W), got {_shape(feature)}. {_advice(feature)}')
    if feature.shape[1] == in_channels:
        return
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


def _advice(feature: Any) -> str:
    dim = feature.dim() if isinstance(feature, Tensor) else None
    if dim in (3, 4):
        return (
            "With a 2D backbone use model type 'DSTSRecognizer2D', which hands the neck clips instead of frames; a 3D "
            'backbone has to return a map, or tokens (B, L, C) whose grid=(T, H, W) the neck is told'
        )
    return (
        'The backbone has pooled time and space. VisionTransformer (VideoMAE), TimeSformer and UniFormerV2 hand on '
        "their map, too, under type 'VisionTransformerWithMap', 'TimeSformerWithMap' and 'UniFormerV2WithMap', with "
        "class_token='return' of the neck. For others take a backbone that returns a map, such as ResNet3dSlowOnly, or "
        'grid=(1, 1, 1) for a neck on pooled features (B, C). `python tools/attach.py CONFIG` writes what fits'
    )


def _shape(feature: Any) -> str:
    if isinstance(feature, Tensor):
        return str(tuple(feature.shape))
    if isinstance(feature, (list, tuple)):
        return f'a {type(feature).__name__} of ' + ', '.join(map(_shape, feature))
    return type(feature).__name__


def _described(stages: Sequence[Any]) -> str:
    return f'{len(stages)} stages ({", ".join(map(_shape, stages))})'
