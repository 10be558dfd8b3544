"""Drawing predictions into the clips that a recognizer saw."""

from __future__ import annotations

from typing import Sequence

from mmaction.engine.hooks import VisualizationHook
from mmaction.registry import HOOKS
from torch import Tensor


def first_view(video: Tensor) -> Tensor:
    """Bring an input of a recognizer to ``(C, T, H, W)``.

    Args:
        video (Tensor): ``(views, C, T, H, W)`` as ``FormatShape('NCTHW')`` makes it, of which the first view is
            taken, or ``(T, C, H, W)`` as ``FormatShape('NCHW')`` makes it.

    Raises:
        ValueError: if it is neither, with C = 3.
    """
    if video.ndim == 5 and video.shape[1] == 3:
        return video[0]
    if video.ndim == 4 and video.shape[1] == 3:
        return video.transpose(0, 1)
    raise ValueError(
        f'Cannot draw into an input of shape {tuple(video.shape)}, expected (views, 3, T, H, W) or '
        '(T, 3, H, W). Leave out --show and --show-dir.'
    )


@HOOKS.register_module()
class ViewVisualizationHook(VisualizationHook):
    """MMAction2's ``VisualizationHook`` where that stops with an error: at inputs with a view axis, and at the name
    of the visualizer's ``show_frames``, which it calls ``show``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.draw_args['show_frames'] = self.draw_args.pop('show')

    def _draw_samples(self, batch_idx: int, data_batch: dict, data_samples: Sequence, step: int = 0) -> None:
        if self.enable:
            data_batch = dict(data_batch, inputs=[first_view(video) for video in data_batch['inputs']])
        super()._draw_samples(batch_idx, data_batch, data_samples, step)
