"""Labelled videos from a table, as ``tools/data/prepare_videos.py`` writes it."""

from __future__ import annotations

import os.path as osp
from typing import Any

from mmaction.datasets import VideoDataset
from mmaction.registry import DATASETS
from mmengine.fileio import join_path
from mmengine.logging import print_log
from mmengine.utils import is_abs

from .clip_table import TableClip, read_label_map, read_table
from .single_label import SingleLabelMixin


@DATASETS.register_module()
class VideoTableDataset(SingleLabelMixin, VideoDataset):
    """Videos, or windows of videos, with one label each, from a table (:mod:`mmdsts.datasets.clip_table`).

    Args:
        ann_file (str): The table: columns ``path`` and ``label``, and ``start`` and ``end`` in seconds where a clip is
            a window of its video. Lists of MMAction2 (``PATH LABEL``) are read, too.
        pipeline (list): Transforms, as in ``VideoDataset``.
        data_prefix (dict): ``video`` is the folder that paths of the table start at. Defaults to ``dict(video='')``.
        classes_file (str, optional): Names of the classes, one a line; becomes ``classes`` of the metainfo. Labels of
            the table are names or numbers from 0. Defaults to None: they are numbers.
        **kwargs: Other arguments of ``VideoDataset``.

    Raises:
        ValueError: A line is no clip, or its label no class.
        FileNotFoundError: A file is not there, or a video.
    """

    METAINFO = dict(dataset_type='VideoTable')

    def __init__(
        self,
        ann_file: str,
        pipeline: list,
        data_prefix: dict = dict(video=''),
        classes_file: str | None = None,
        metainfo: dict | None = None,
        data_root: str = '',
        **kwargs: Any,
    ) -> None:
        metainfo = dict(metainfo or {})
        if classes_file is not None:
            if data_root and not is_abs(classes_file):
                classes_file = join_path(data_root, classes_file)
            metainfo.update(classes=read_label_map(classes_file))
        super().__init__(ann_file, pipeline, data_prefix=data_prefix, metainfo=metainfo, data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Clips as ``dict(filename, label)``, with ``start`` and ``end`` in seconds where they are windows."""
        table = read_table(self.ann_file)
        numbers = {name: label for label, name in enumerate(self._metainfo.get('classes', ()))}
        data_list = [self._clip(clip, numbers) for clip in table]
        missing = [clip['filename'] for clip in data_list if not osp.isfile(clip['filename'])]
        if missing:
            raise FileNotFoundError(
                f'{self.ann_file}: {len(missing)} of {len(data_list)} clips are not there, such as {missing[0]}; '
                'set data_prefix=dict(video=...) to the folder that the paths start at'
            )
        labels = len({clip['label'] for clip in data_list})
        print_log(f'{type(self).__name__} {self.ann_file}: {len(data_list)} clips of {labels} classes', 'current')
        return data_list

    def _clip(self, clip: TableClip, numbers: dict[str, int]) -> dict:
        label = label_number(clip.label, numbers)
        if label is None:
            known = ', '.join(list(numbers)[:5]) + (', ...' if len(numbers) > 5 else '')
            raise ValueError(
                f'{self.ann_file}, line {clip.line}: the label {clip.label!r} is no class; expected '
                + (f'one of {len(numbers)}: {known}' if numbers else 'a number, or names of classes in classes_file')
            )
        found = dict(filename=osp.join(self.data_prefix['video'] or '', clip.path), label=label)
        if clip.start is not None or clip.end is not None:
            found.update(start=clip.start or 0.0, end=clip.end)
        return found


def label_number(label: str, numbers: dict[str, int]) -> int | None:
    """Number of a label: by its name among ``numbers``, or of its own; None where it is none of the classes."""
    if label in numbers:
        return numbers[label]
    number = int(label) if label.isdecimal() else None
    return None if number is None or (numbers and number >= len(numbers)) else number
