"""Transformers of MMAction2 that pool their tokens: here they hand them on as a map, too (METHOD 4)."""

from __future__ import annotations

from typing import Any

from mmaction.models.backbones import TimeSformer, UniFormerV2, VisionTransformer
from mmaction.registry import MODELS
from torch import Tensor, nn

from .tokens import TokenGrid


class _WithMap:
    """A backbone that returns ``([map, pooled], )``, as MViT does, where its parent class returns ``pooled`` alone.

    ``map`` is ``(B, C, T, H, W)``, of the tokens that the parent class pools; ``pooled`` is what it returns, to the
    bit. Parameters, their names and arguments are those of the parent class, whose checkpoints fit.
    """

    def forward(self, x: Tensor) -> tuple[list[Tensor]]:
        """Tokens as a map, and what the parent class makes of them."""
        seen: list[Tensor] = []
        handle = self._last_tokens().register_forward_hook(lambda module, args, out: seen.append(out))
        try:
            pooled = super().forward(x)
        finally:
            handle.remove()
        return ([self._map(seen[-1], x), pooled],)

    def _last_tokens(self) -> nn.Module:
        """The module that puts out the tokens."""
        return self.norm

    def _map(self, tokens: Tensor, x: Tensor) -> Tensor:
        raise NotImplementedError


@MODELS.register_module()
class VisionTransformerWithMap(_WithMap, VisionTransformer):
    """VideoMAE's ``VisionTransformer``, whose tokens are handed on before their mean is normalised."""

    def forward(self, x: Tensor) -> Any:
        """As the parent class where ``return_feat_map=True``, which returns the map alone."""
        alone = getattr(self, 'return_feat_map', False)  # MMAction2 1.0 has no such option
        return VisionTransformer.forward(self, x) if alone else super().forward(x)

    def _map(self, tokens: Tensor, x: Tensor) -> Tensor:
        patch = self.patch_embed.projection.kernel_size[-1]
        height, width = (size // patch for size in x.shape[-2:])
        return TokenGrid((tokens.shape[1] // (height * width), height, width)).fold(tokens)


@MODELS.register_module()
class TimeSformerWithMap(_WithMap, TimeSformer):
    """``TimeSformer``; with space-only attention its frames are already averaged, and the map has ``T = 1``."""

    def _map(self, tokens: Tensor, x: Tensor) -> Tensor:
        height, width = (size // self.patch_embed.patch_size[0] for size in x.shape[-2:])
        patches = tokens[:, 1:]
        if self.attention_type == 'space_only':
            return TokenGrid((1, height, width)).fold(patches)
        # Here the tokens of a place stand together, frame by frame: (B, H W T, C).
        frames = patches.shape[1] // (height * width)
        by_place = patches.unflatten(1, (height * width, frames)).transpose(1, 2)
        return TokenGrid((frames, height, width)).fold(by_place.flatten(1, 2))


@MODELS.register_module()
class UniFormerV2WithMap(_WithMap, UniFormerV2):
    """``UniFormerV2``, whose tokens are those of its last local block."""

    def _last_tokens(self) -> nn.Module:
        return self.transformer.resblocks[-1]

    def _map(self, tokens: Tensor, x: Tensor) -> Tensor:
        # (1 + H W, B T, C) -> (B, T H W, C)
        length, _, channels = tokens.shape
        frames = self.transformer.T
        patches = tokens[1:].unflatten(1, (-1, frames)).permute(1, 2, 0, 3)
        side = int((length - 1) ** 0.5)
        return TokenGrid((frames, side, side)).fold(patches.reshape(-1, frames * (length - 1), channels))
