"""Opens a clip: a file, or a window of a longer one."""

from __future__ import annotations

from mmaction.datasets.transforms import DecordInit
from mmaction.registry import TRANSFORMS

from ..decoding import open_instead, open_window
from ..decoding.choice import is_said


@TRANSFORMS.register_module()
class ClipInit(DecordInit):
    """``DecordInit`` that also opens a part of a video, without cutting it out first.

    A sample with ``start`` or ``end`` is that window of its file: of the frames shown from ``start`` on and before
    ``end`` (seconds), ``total_frames`` is the number, and samplers number them from 0. See
    :func:`~mmdsts.datasets.decoding.open_window`. Other samples are opened as ``DecordInit`` does it; a file that
    decord fails on, PyAV opens, if it is installed, and the log says so.

    Required keys: ``filename``; optional ``start``, ``end``. Added keys: ``video_reader``, ``total_frames``,
    ``avg_fps``, for a window ``start_index``.

    Args:
        io_backend (str): Where files without a window are read from. Defaults to ``'disk'``.
        num_threads (int): Threads that decode. Defaults to 1.
        **kwargs: For the file client.
    """

    def transform(self, results: dict) -> dict:
        """Open the clip of a sample.

        Raises:
            ClipError: No frame is shown in the window.
            ImportError: No decoder is installed.
        """
        path = results['filename']
        if results.get('start') is not None or results.get('end') is not None:
            reader = open_window(path, results.get('start'), results.get('end'), self.num_threads)
            results['start_index'] = 0
        elif is_said(path):
            reader = open_instead(path, RuntimeError(f'{path} changed'), self.num_threads)
        else:
            try:
                return super().transform(results)
            except Exception as error:  # decord's own errors are plain exceptions; or it is not installed
                reader = open_instead(path, error, self.num_threads)
        results.update(video_reader=reader, total_frames=len(reader), avg_fps=reader.get_avg_fps())
        return results
