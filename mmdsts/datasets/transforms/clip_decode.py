"""Decodes the sampled frames of a clip."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmaction.datasets.transforms import DecordDecode
from mmaction.registry import TRANSFORMS

from ..decoding import AvReader, DecordWindow, open_instead


@TRANSFORMS.register_module()
class ClipDecode(DecordDecode):
    """``DecordDecode`` for what :class:`ClipInit` opened.

    Where decord opens a file but cannot decode it, as with frames of 48 pixels in width, PyAV does, if it is installed.

    Required keys: ``video_reader``, ``frame_inds``, ``filename``. Added keys: ``imgs``, ``original_shape``,
    ``img_shape``.

    Args:
        mode (str): See ``DecordDecode``; ``'efficient'`` is for decord and files without a window only. Defaults to
            ``'accurate'``.
    """

    def transform(self, results: dict) -> dict:
        """Decode the frames of a sample."""
        reader = results['video_reader']
        try:
            return super().transform(results)
        except Exception as error:  # decord's own errors are plain exceptions
            if isinstance(reader, (AvReader, DecordWindow)):
                raise
            reader = open_instead(results['filename'], error)
        # The two may count differently at the end of a file.
        results['frame_inds'] = np.minimum(results['frame_inds'], len(reader) - 1)
        results['video_reader'] = reader
        return super().transform(results)

    def _decord_load_frames(self, container: Any, frame_inds: np.ndarray) -> list:
        if isinstance(container, (AvReader, DecordWindow)):
            return list(container.get_batch(frame_inds))
        return super()._decord_load_frames(container, frame_inds)
