"""Diving48's annotation lists as an MMAction2 dataset (METHOD 6)."""

from __future__ import annotations

import json
import logging
import os.path as osp
import re
from typing import Any

from mmaction.datasets import VideoDataset
from mmaction.registry import DATASETS
from mmengine.fileio import exists, join_path
from mmengine.logging import print_log
from mmengine.utils import is_abs

from .availability import check_missing, drop_repeats, select_available
from .single_label import SingleLabelMixin
from .text import read_text

NUM_CLASSES = 48

#: Entries of the corrected lists, see METHOD 6.
V2_ENTRIES = {15027: 'train', 1970: 'test'}

_ENTRY_FORM = "{'vid_name': str, 'label': int, 'start_frame': int, 'end_frame': int}"


def read_vocabulary(path: str) -> list[str]:
    """Names of the 48 classes from the vocabulary: take-off, somersaults, twists and position, joined by
    commas.

    Raises:
        ValueError: The file is no list of 48 lists of four words.
        FileNotFoundError: The file is not there.
    """
    dives = _load(path)
    if not isinstance(dives, list) or len(dives) != NUM_CLASSES:
        found = f'a list of {len(dives)}' if isinstance(dives, list) else type(dives).__name__
        raise ValueError(f'{path}: found {found}, expected a list of {NUM_CLASSES} dives')
    for index, dive in enumerate(dives):
        if not isinstance(dive, list) or len(dive) != 4 or not all(isinstance(word, str) for word in dive):
            raise ValueError(
                f'{path}, entry {index}: found {dive!r}, expected four words such as '
                "['Back', '15som', '05Twis', 'FREE']"
            )
    return [', '.join(dive) for dive in dives]


def annotation_version(path: str, num_entries: int) -> str:
    """``'V1'``, ``'V2'`` or ``'unknown'``, by the entries of a complete V2 list or by the file's name."""
    name = osp.basename(path)
    if num_entries in V2_ENTRIES or re.search(r'[vV]2(?!\d)', name):
        return 'V2'
    # V1 was published as Diving48_train.json and Diving48_test.json.
    if re.search(r'[vV]1(?!\d)', name) or re.fullmatch(r'Diving48_(train|test)\.json', name):
        return 'V1'
    return 'unknown'


@DATASETS.register_module()
class Diving48Dataset(SingleLabelMixin, VideoDataset):
    """Clips of dives, read from the published JSON lists (METHOD 6).

    The file of a clip is ``data_prefix['video']/VID_NAME.mp4``. ``start_frame`` and ``end_frame`` stay in the
    data of a clip; the published clips are cut already and start at 0. V2 corrected the labels and uses 47 of
    the 48; V1 is known to be wrong, and reading it warns.

    Args:
        ann_file (str): A list, ``[{'vid_name': ..., 'label': ..., 'start_frame': ..., 'end_frame': ...},
            ...]``.
        pipeline (list): Transforms, as in ``VideoDataset``.
        data_prefix (dict): ``video`` is the folder of the clips. Defaults to ``dict(video='')``.
        vocabulary_file (str, optional): Names the classes, see :func:`read_vocabulary`. Defaults to None.
        suffix (str): Ending of the files. Defaults to ``'.mp4'``.
        missing (str): ``'error'`` or ``'skip'``, as in ``FineGymDataset``. Defaults to ``'error'``: Diving48
            is published with its videos, so a missing one is a mistake.
        **kwargs: Other arguments of ``VideoDataset``.

    Raises:
        ValueError: An entry is malformed, a label is not one of the 48, a clip has two labels, or ``missing``
            is unknown.
        FileNotFoundError: A file or folder is not there, or clips are missing (see ``missing``), or all are.
    """

    METAINFO = dict(dataset_type='Diving48')

    def __init__(
        self,
        ann_file: str,
        pipeline: list,
        data_prefix: dict = dict(video=''),
        vocabulary_file: str | None = None,
        suffix: str = '.mp4',
        missing: str = 'error',
        metainfo: dict | None = None,
        data_root: str = '',
        **kwargs: Any,
    ) -> None:
        self.suffix = suffix
        self.missing = check_missing(missing)
        metainfo = dict(metainfo or {})
        if vocabulary_file is not None:
            if data_root and not is_abs(vocabulary_file):
                vocabulary_file = join_path(data_root, vocabulary_file)
            metainfo.update(classes=read_vocabulary(vocabulary_file))
        kwargs.setdefault('num_classes', NUM_CLASSES)
        super().__init__(ann_file, pipeline, data_prefix=data_prefix, metainfo=metainfo, data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Clips as ``dict(filename, label, start_frame, end_frame)``; see the class for the errors."""
        entries = _load(self.ann_file)
        if not isinstance(entries, list) or not entries:
            raise ValueError(f'{self.ann_file}: expected a list of entries {_ENTRY_FORM}')
        version = annotation_version(self.ann_file, len(entries))
        self._metainfo['annotation_version'] = version
        source = f'{type(self).__name__} {osp.basename(self.ann_file)}'
        directory = self.data_prefix['video'] or '.'
        data_list = [self._clip(index, entry, directory) for index, entry in enumerate(entries)]
        print_log(
            f'{source}: version {version}, {len(data_list)} clips of '
            f'{len({clip["label"] for clip in data_list})} classes',
            logger='current',
        )
        if version == 'V1':
            print_log(
                f'{source}: labels of V1 are known to be wrong, V2 corrects them; use V2',
                logger='current',
                level=logging.WARNING,
            )
        data_list = drop_repeats(data_list, source)
        return select_available(data_list, directory, self.missing, source, self._metainfo.get('classes'))

    def _clip(self, index: int, entry: dict, directory: str) -> dict:
        """One entry of the list, checked."""
        types = dict(vid_name=str, label=int, start_frame=int, end_frame=int)
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), kind) for key, kind in types.items()):
            raise ValueError(f'{self.ann_file}, entry {index}: found {entry!r}, expected {_ENTRY_FORM}')
        if not 0 <= entry['label'] < self.num_classes:
            raise ValueError(
                f'{self.ann_file}, entry {index}: {entry["vid_name"]} has label '
                f'{entry["label"]}, expected 0 to {self.num_classes - 1}'
            )
        if not 0 <= entry['start_frame'] < entry['end_frame']:
            raise ValueError(
                f'{self.ann_file}, entry {index}: {entry["vid_name"]} goes from frame '
                f'{entry["start_frame"]} to {entry["end_frame"]}'
            )
        return dict(
            filename=osp.join(directory, entry['vid_name'] + self.suffix),
            label=entry['label'],
            start_frame=entry['start_frame'],
            end_frame=entry['end_frame'],
        )


def _load(path: str) -> Any:
    if not exists(path):
        raise FileNotFoundError(f'{path} is not there; the lists are at http://www.svcl.ucsd.edu/projects/resound')
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f'{path} is no JSON file: {error}') from error
