"""A 2D recognizer whose neck sees each view of each video as one clip (METHOD 4)."""

from __future__ import annotations

import math
from typing import Any, Callable

import torch
from mmaction.models.recognizers import Recognizer2D
from mmaction.registry import MODELS
from torch import Tensor

from .feature import FeatureMaps
from .torchvision_backbone import give_features, refuse_logits

STAGES = ('backbone', 'neck', 'head')


@MODELS.register_module()
class DSTSRecognizer2D(Recognizer2D):
    """2D backbone, DSTS neck and a TSN-, TSM- or TPN-style head (METHOD 4).

    A 2D backbone works frame by frame; the neck convolves over time. Between the two, frames are put back
    together, and what belongs together is one *view* of one video: the ``S`` segments seen through one
    spatial crop (``ThreeCrop``, ``TenCrop``) at one set of times (``twice_sample``). MMAction2's pipelines
    lay the frames of a video out view by view::

        (N, V*S, C, H, W)     N videos, V views, the S segments of a view side by side
          backbone            frame by frame; in chunks of whole views with test_cfg.max_testing_views
        (N*V*S, C', H', W')
          regroup             one clip for each view
        (N*V, C', S, H', W')
          neck                never sees two views, or two videos, in one clip
        (N*V*S, C', H', W')   with num_segs=S, the form that 2D heads take;
                              left as (N*V, C', S, H', W') with test_cfg.fcn_test
          head
        (N*V, num_classes)    averaged over the V views by the head's average_clips

    ``S`` is what ``num_segments``, ``backbone.num_segments``, ``cls_head.num_segments`` and
    ``test_cfg.num_segs`` say; those that are given must agree. With a neck ``S`` must be known. Without a
    neck it may be unknown: all frames of a video then are one view, as in the parent class.

    Backbones of torchvision and timm keep their last spatial map, which the neck's spatial operators need; the
    parent class pools it to 1x1. Channel-last maps and grids of tokens become (frames, C', H', W'), prefix
    tokens (class, distillation) are left out, and features without spatial extent become 1x1 maps.

    A test pipeline may sample more clips of a video than S (``num_clips=25`` where training has 5): S of them at equal
    distances, each from another part of the video as in training, then make a view.

    Args:
        *args: As in MMAction2's ``Recognizer2D``.
        num_segments (int, optional): Frames of one view, ``S``. Defaults to None: what backbone or head
            declares.
        **kwargs: As in MMAction2's ``Recognizer2D``.

    Raises:
        ValueError: ``S`` is unknown although there is a neck, or is declared with different values, or a backbone of
            torchvision has no last map that is known, or the head is made for its logits.
    """

    def __init__(self, *args: Any, num_segments: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.backbone_from == 'torchvision' and not hasattr(self.backbone, 'features'):
            refuse_logits(self.backbone, getattr(self.cls_head, 'in_channels', None) if self.with_cls_head else None)
            give_features(self.backbone)
        self.num_segments = self._resolve_num_segments(num_segments)

    def predict(self, inputs: Tensor, data_samples: list, **kwargs: Any) -> list:
        """Scores of a test batch, averaged over views, as in the parent class.

        Args:
            inputs (Tensor): Frames as the test pipeline packs them, (N, frames, C, H, W).
            data_samples (list): N samples. Their ``num_clips`` and ``clip_len``, which the pipeline packs where
                ``mmdsts`` is imported, tell which frames make a view.
            **kwargs: As in the parent class.

        Returns:
            list: The samples with their scores.

        Raises:
            ValueError: The frames of a video do not make whole views.
        """
        return super().predict(self.side_by_side(inputs, data_samples), data_samples, **kwargs)

    def side_by_side(self, inputs: Tensor, data_samples: list) -> Tensor:
        """Put the frames of each view side by side, each view over the whole video.

        Args and errors as for :meth:`predict`, which calls it. The result has the shape of ``inputs``.
        """
        sampled = data_samples[0].metainfo if data_samples else {}
        segments, clips, length = self.num_segments, sampled.get('num_clips'), sampled.get('clip_len')
        if None in (segments, clips, length) or segments in (clips * length, length):
            return inputs
        if length != 1 or clips % segments:
            raise ValueError(
                f'the test pipeline samples num_clips={clips} clips of clip_len={length} frames, which make no views '
                f'of num_segments={segments} frames; set num_clips of SampleFrames to {segments} or a multiple of it, '
                'and clip_len to 1'
            )
        # (N, sets of clips, S, views, ...) -> (N, sets of clips, views, S, ...)
        grid = inputs.reshape(len(inputs), -1, segments, clips // segments, *inputs.shape[2:])
        return grid.transpose(2, 3).reshape(inputs.shape)

    def extract_feat(
        self, inputs: Tensor, stage: str = 'neck', data_samples: list | None = None, test_mode: bool = False
    ) -> tuple[FeatureMaps, dict[str, Any]]:
        """Features of a batch after ``stage``.

        Args:
            inputs (Tensor): Frames, (N, V*S, C, H, W), the S frames of a view side by side. V is 1 in
                training.
            stage (str): ``'backbone'``: (N*V*S, C', H', W'), or a tuple of such maps. ``'neck'``: what the
                head takes. ``'head'``: scores before averaging over views, (N*V, num_classes).
                Defaults to ``'neck'``.
            data_samples (list, optional): N samples, handed to the neck. Defaults to None.
            test_mode (bool): Whether ``test_cfg`` applies (``fcn_test``, ``max_testing_views``). Defaults to
                False.

        Returns:
            tuple: The features, and keyword arguments of the head: ``num_segs`` (frames of a view in the
            features), ``fcn_test`` in test mode and, from the neck on, ``loss_aux``.

        Raises:
            ValueError: ``stage`` is unknown, or the frames do not make whole views, or make several in
                training.
        """
        if stage not in STAGES:
            raise ValueError(f'stage must be one of {STAGES}, got {stage!r}')
        segments = self._segments_of(inputs, test_mode)
        # (N, V*S, C, H, W) -> (N*V*S, C, H, W)
        frames = inputs.reshape((-1,) + inputs.shape[2:])
        x = self._forward_backbone(frames, segments, test_mode)
        head_kwargs: dict[str, Any] = dict(num_segs=self._segments_left(x, frames.shape[0] // segments))
        if test_mode:
            head_kwargs['fcn_test'] = bool((self.test_cfg or {}).get('fcn_test', False))
        if stage == 'backbone':
            return x, head_kwargs

        x, head_kwargs = self.forward_neck(x, head_kwargs, data_samples)
        if stage == 'neck':
            return x, head_kwargs
        if not self.with_cls_head:
            raise ValueError("stage='head' needs a cls_head, but the model has none")
        return self.cls_head(x, **head_kwargs), head_kwargs

    def forward_neck(
        self, x: FeatureMaps, head_kwargs: dict[str, Any], data_samples: list | None = None
    ) -> tuple[FeatureMaps, dict[str, Any]]:
        """From the backbone's features to what the head takes.

        The two values of ``extract_feat(inputs, stage='backbone')`` go in and those of
        ``extract_feat(inputs, stage='neck')`` come out: features computed once can serve several times.

        Args:
            x (Tensor | tuple[Tensor]): Features of frames, (N*V*S, C', H', W'), or one such map a stage.
            head_kwargs (dict): Has ``num_segs=S``, and ``fcn_test`` in test mode. It is not changed.
            data_samples (list, optional): N samples, handed to the neck. Defaults to None.

        Returns:
            tuple: Features (N*V*S, C', H', W'), or (N*V, C', S, H', W') with ``fcn_test``, and the keyword
            arguments of the head.

        Raises:
            ValueError: The neck's output is not (N*V, C', S, H', W'), or the head counts on another S.
        """
        segments = head_kwargs['num_segs']
        fcn_test = head_kwargs.get('fcn_test', False)
        loss_aux: dict = {}
        if self.with_neck:
            clips = _map(x, lambda feat: _to_clips(feat, segments))
            num_clips = _first(clips).shape[0]
            clips, loss_aux = self.neck(clips, data_samples=data_samples)
            _check_neck_output(clips, num_clips)
            segments = _first(clips).shape[2]
            x = clips if fcn_test else _map(clips, _to_frames)
        elif fcn_test:
            x = _map(x, lambda feat: _to_clips(feat, segments))
        if not fcn_test:
            self._check_head(segments)
        return x, dict(head_kwargs, num_segs=segments, loss_aux=loss_aux)

    def _resolve_num_segments(self, num_segments: int | None) -> int | None:
        """Segments of a view from all who declare them."""
        declared = {
            'num_segments': num_segments,
            'backbone.num_segments': getattr(self.backbone, 'num_segments', None),
            'cls_head.num_segments': getattr(getattr(self, 'cls_head', None), 'num_segments', None),
            'test_cfg.num_segs': (self.test_cfg or {}).get('num_segs'),
        }
        declared = {name: value for name, value in declared.items() if value is not None}
        for name, value in declared.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f'{name} must be an integer of at least 1, got {value!r}')
        if len(set(declared.values())) > 1:
            found = ', '.join(f'{name}={value}' for name, value in declared.items())
            raise ValueError(
                f'frames of one view are declared with different values: {found}; give all of '
                'them the num_clips of SampleFrames in the training pipeline'
            )
        if not declared and self.with_neck:
            raise ValueError(
                f'{type(self).__name__} with a neck needs num_segments, the frames of one view: neither '
                'backbone nor head declares it, and with several crops the number of input frames does not '
                'tell it. Set model.num_segments to the num_clips of SampleFrames in the training pipeline'
            )
        return next(iter(declared.values()), None)

    def _segments_of(self, inputs: Tensor, test_mode: bool) -> int:
        """Frames of one view of ``inputs``."""
        if inputs.dim() != 5:
            raise ValueError(
                f'inputs must be (N, frames, C, H, W), got shape {tuple(inputs.shape)}; '
                "the pipeline needs FormatShape(input_format='NCHW')"
            )
        frames = inputs.shape[1]
        segments = self.num_segments or frames
        if frames % segments:
            raise ValueError(
                f'{frames} frames of a video (inputs have shape {tuple(inputs.shape)}) do not '
                f'make whole views of num_segments={segments} frames; num_clips of '
                'SampleFrames must equal it'
            )
        if not test_mode and frames != segments:
            raise ValueError(
                f'a video has {frames} frames, {frames // segments} views of '
                f'num_segments={segments}, but outside testing a video has one view: num_clips '
                'of SampleFrames must equal num_segments, without twice_sample, ThreeCrop '
                'or TenCrop'
            )
        return segments

    def _segments_left(self, x: FeatureMaps, views: int) -> int:
        """Frames of a view in the features: fewer than S after a ``temporal_pool`` in the backbone."""
        # A list: under torch.export these are symbols, which no set can hold.
        counts = [feat.shape[0] for feat in (x if isinstance(x, tuple) else (x,))]
        frames = max(counts)
        if any(count != frames for count in counts) or (views and frames % views):
            raise ValueError(
                f'{type(self.backbone).__name__} returned features of {sorted(set(counts))} frames '
                f'for {views} views; every stage must have the same number for each view'
            )
        return frames // views if views else self.num_segments or 1

    def _check_head(self, segments: int) -> None:
        """A head that regroups frames by its own count must have the features' count, or it mixes videos."""
        head = self.cls_head if self.with_cls_head else None
        expected = getattr(head, 'num_segments', None)
        if expected and getattr(head, 'is_shift', False) and getattr(head, 'temporal_pool', False):
            expected //= 2
        if expected and expected != segments:
            raise ValueError(
                f'{type(head).__name__} regroups features by {expected} frames of a view, but '
                f'gets {segments}; set its num_segments (and temporal_pool as in the backbone), '
                'and use a neck that keeps the number of frames'
            )

    def _forward_backbone(self, frames: Tensor, segments: int, test_mode: bool) -> FeatureMaps:
        """Backbone on (N*V*S, C, H, W), in chunks of whole views if ``test_cfg.max_testing_views`` is set."""
        limit = (self.test_cfg or {}).get('max_testing_views') if test_mode else None
        if not limit:
            return self._frame_features(frames)
        if not isinstance(limit, int) or limit < 1 or limit % segments:
            raise ValueError(
                'test_cfg.max_testing_views, the frames that run through the backbone at once, '
                f'must be a multiple of num_segments={segments}, whole views; got {limit!r}'
            )
        chunks = [self._frame_features(chunk) for chunk in frames.split(limit)]
        if isinstance(chunks[0], tuple):
            return tuple(torch.cat(stage) for stage in zip(*chunks))
        return torch.cat(chunks)

    def _frame_features(self, frames: Tensor) -> FeatureMaps:
        """Spatial maps (frames, C', H', W') of one chunk, from any kind of 2D backbone."""
        if self.backbone_from == 'torchvision' and hasattr(self.backbone, 'features'):
            x = self.backbone.features(frames)
        elif self.backbone_from == 'timm':
            x = self.backbone.forward_features(frames)
        else:
            x = self.backbone(frames)
        if not isinstance(x, (list, tuple)):
            return self._spatial_map(x)
        # mmpretrain wraps its only stage; elsewhere a tuple means several stages, and the neck chooses.
        if self.backbone_from in ('mmcls', 'mmpretrain') and len(x) == 1:
            return self._spatial_map(x[0])
        return tuple(self._spatial_map(feat) for feat in x)

    def _spatial_map(self, x: Tensor) -> Tensor:
        """Bring one feature to (frames, C', H', W')."""
        layout = getattr(self, 'feature_shape', None)
        if x.dim() == 2:
            # Pooled by the backbone: (frames, C').
            return x[:, :, None, None]
        if x.dim() == 4:
            layout = layout or self._guess_layout(x)
            return x.permute(0, 3, 1, 2).contiguous() if layout == 'NHWC' else x
        if x.dim() == 3 and layout in (None, 'NLC'):
            return self._token_map(x)
        raise ValueError(
            f'{type(self.backbone).__name__} returned features of shape {tuple(x.shape)} '
            f'(feature_shape={layout!r}); expected (frames, C, H, W), (frames, H, W, C), '
            '(frames, tokens, C) or (frames, C)'
        )

    def _guess_layout(self, x: Tensor) -> str:
        """``'NHWC'`` only where a channel count says so: timm's ``num_features``, or what the neck takes."""
        counts = [
            getattr(self.backbone, 'num_features', None) if self.backbone_from == 'timm' else None,
            getattr(self.neck, 'in_channels', None) if self.with_neck else None,
        ]
        channels = next((count for count in counts if isinstance(count, int)), None)
        channels_last = self.backbone_from in ('timm', 'torchvision') and x.shape[3] == channels != x.shape[1]
        return 'NHWC' if channels_last else 'NCHW'

    def _token_map(self, x: Tensor) -> Tensor:
        """Tokens (frames, prefix + H'*W', C') -> (frames, C', H', W')."""
        # timm counts them; torchvision's vision transformers have a class token.
        prefix = getattr(self.backbone, 'num_prefix_tokens', int(hasattr(self.backbone, 'class_token')))
        tokens = max(x.shape[1] - prefix, 0)
        height = width = math.isqrt(tokens)
        if height * width != tokens:
            # timm knows the grid of a picture that is not square.
            patches = getattr(self.backbone, 'patch_embed', None)
            height, width = getattr(patches, 'grid_size', (height, width))
        if not tokens or height * width != tokens:
            raise ValueError(
                f'{type(self.backbone).__name__} returned {x.shape[1]} tokens for a frame, '
                f'{prefix} of them prefix tokens (num_prefix_tokens); the other {tokens} make '
                'no square grid'
            )
        return x[:, prefix:].transpose(1, 2).reshape(x.shape[0], x.shape[2], height, width)


def _first(x: FeatureMaps) -> Tensor:
    return x[0] if isinstance(x, tuple) else x


def _map(x: FeatureMaps, function: Callable[[Tensor], Tensor]) -> FeatureMaps:
    """Apply to each stage of a tuple, or to a tensor as a whole: that is one stage, not a list of samples."""
    return tuple(function(feat) for feat in x) if isinstance(x, tuple) else function(x)


def _to_clips(x: Tensor, segments: int) -> Tensor:
    """(clips*S, C, H, W) -> (clips, C, S, H, W)."""
    return x.reshape((x.shape[0] // segments, segments) + x.shape[1:]).transpose(1, 2).contiguous()


def _to_frames(x: Tensor) -> Tensor:
    """(clips, C, S, H, W) -> (clips*S, C, H, W)."""
    return x.transpose(1, 2).flatten(0, 1)


def _check_neck_output(x: FeatureMaps, clips: int) -> None:
    for feat in x if isinstance(x, tuple) else (x,):
        if feat.dim() != 5 or feat.shape[0] != clips:
            raise ValueError(
                f'the neck returned shape {tuple(feat.shape)}; expected ({clips}, C, S, H, W), '
                'one clip for each view of each video'
            )
