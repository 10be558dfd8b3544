"""Drawing predictions into the clips that a recognizer saw."""

from __future__ import annotations

from typing import Sequence

from mmaction.engine.hooks import VisualizationHook
from mmaction.registry import HOOKS
from mmengine.structures import BaseDataElement, LabelData
from torch import Tensor

from mmdsts.evaluation.samples import label_of, score_of

#: Pixels of the shorter side of a frame, from which on text in it can be read.
READABLE = 224


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


def with_drawn_names(sample: BaseDataElement) -> BaseDataElement:
    """A sample with label and best class under the names that MMAction2's visualizer looks for.

    Its samples call them otherwise from 1.1 on, so that it draws neither.

    Args:
        sample (ActionDataSample): After ``predict``; it is not changed.
    """
    drawn, scores = sample.new(), score_of(sample)
    if 'gt_label' in sample or 'gt_labels' in sample:
        drawn.gt_labels = LabelData(item=label_of(sample))
    if isinstance(scores, Tensor) and scores.ndim == 1:  # else of several modalities, or of views
        drawn.pred_labels = LabelData(item=scores.topk(1).indices, score=scores)
    return drawn


@HOOKS.register_module()
class ViewVisualizationHook(VisualizationHook):
    """MMAction2's ``VisualizationHook`` where that stops with an error: at inputs with a view axis, and at the name of
    the visualizer's ``show_frames``, which it calls ``show``. It draws label and prediction, which that leaves out
    from MMAction2 1.1 on, into frames large enough to read them.

    Args:
        *args: ``enable``, ``interval``, ``show``, ``out_dir`` of MMAction2's hook.
        **kwargs: The same, and what ``ActionVisualizer.add_datasample`` takes. Without ``rescale_factor`` and
            ``target_resolution``, frames are enlarged to 224 pixels on their shorter side if they are smaller.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.draw_args['show_frames'] = self.draw_args.pop('show')
        self._enlarge = not {'rescale_factor', 'target_resolution'} & self.draw_args.keys()

    def _draw_samples(self, batch_idx: int, data_batch: dict, data_samples: Sequence, step: int = 0) -> None:
        if self.enable:
            data_batch = dict(data_batch, inputs=[first_view(video) for video in data_batch['inputs']])
            data_samples = [with_drawn_names(sample) for sample in data_samples]
            if self._enlarge:
                self.draw_args['rescale_factor'] = max(1.0, READABLE / min(data_batch['inputs'][0].shape[-2:]))
        super()._draw_samples(batch_idx, data_batch, data_samples, step)
