"""FineGym's official annotation lists as an MMAction2 dataset (METHOD 6)."""

from __future__ import annotations

import os.path as osp
import re
from typing import Any, NamedTuple

from mmaction.datasets import VideoDataset
from mmaction.datasets.transforms import DecordDecode
from mmaction.registry import DATASETS
from mmengine.fileio import exists, join_path
from mmengine.logging import print_log
from mmengine.utils import is_abs

from .availability import check_folder, check_missing, drop_repeats, keep_available
from .finegym_files import FineGymFile, FineGymFiles, count_kinds
from .finegym_windows import find_info, read_times
from .single_label import SingleLabelMixin
from .text import read_lines
from .transforms import ClipDecode, ClipInit

_ELEMENT = re.compile(
    r'(?P<clip>[\w-]{11}_E_(?P<event_start>\d{6})_(?P<event_end>\d{6})'
    r'_A_(?P<start>\d{4})_(?P<end>\d{4}))\s+(?P<label>\d+)'
)
_ELEMENT_FORM = 'VIDEO_E_START_END_A_START_END LABEL, e.g. A0xAXXysHUo_E_002184_002237_A_0035_0036 93'
_CATEGORY = re.compile(r'Clabel:\s*(?P<label>\d+);\s*set:\s*(?P<set>\d+);\s*Glabel:\s*\d+;\s*(?P<name>.*\S)')
_CATEGORY_FORM = 'Clabel: 0; set: 1; Glabel: 1; DESCRIPTION'
_SET = re.compile(r'set:\s*(?P<set>\d+);\s*(?P<name>.*\S)')
_SET_FORM = 'set: 1; NAME'

#: Lines of the official lists, see METHOD 6.
OFFICIAL_LINES = {
    20484: ('gym99 train', 'v1.0'),
    26320: ('gym99 train', 'v1.1'),
    8521: ('gym99 val', 'v1.0 and v1.1'),
    22671: ('gym288 train', 'v1.0'),
    29334: ('gym288 train', 'v1.1'),
    9646: ('gym288 val', 'v1.0 and v1.1'),
}


class Categories(NamedTuple):
    """Classes of a list: ``classes[label]`` is the description, ``sets[label]`` the number of its set."""

    classes: list
    sets: list


def read_elements(path: str) -> list[tuple[str, int]]:
    """Clips and labels of an official train or val list.

    Args:
        path (str): A file of lines ``VIDEO_E_START_END_A_START_END LABEL``: YouTube id of 11 characters,
            event window in whole seconds of the video, element window in whole seconds of the event. Windows
            are rounded, so an element may start and end in the same second.

    Returns:
        list[tuple[str, int]]: Clip names without suffix, and labels, in the order of the file.

    Raises:
        ValueError: A line has another form, or a window ends before it starts.
        FileNotFoundError: The file is not there.
    """
    elements = []
    for number, line, match in _read(path, _ELEMENT, _ELEMENT_FORM):
        for start, end in (('event_start', 'event_end'), ('start', 'end')):
            if int(match[end]) < int(match[start]):
                raise ValueError(
                    f'{path}, line {number}: found {line!r}, whose window {match[start]} to '
                    f'{match[end]} ends before it starts'
                )
        elements.append((match['clip'], int(match['label'])))
    return elements


def read_categories(path: str) -> Categories:
    """Descriptions and sets of the classes of a list.

    Args:
        path (str): A file of lines ``Clabel: 0; set: 1; Glabel: 1; DESCRIPTION``, labels from 0 without a
            gap.

    Raises:
        ValueError: A line has another form, or a label is left out or out of order.
        FileNotFoundError: The file is not there.
    """
    categories = Categories([], [])
    for number, line, match in _read(path, _CATEGORY, _CATEGORY_FORM):
        if int(match['label']) != len(categories.classes):
            raise ValueError(
                f'{path}, line {number}: found {line!r}, expected Clabel '
                f'{len(categories.classes)}: labels count from 0 without a gap'
            )
        categories.classes.append(match['name'])
        categories.sets.append(int(match['set']))
    return categories


def read_sets(path: str) -> dict[int, str]:
    """Names of the sets, from lines ``set: 1; NAME``; ValueError for any other form."""
    return {int(match['set']): match['name'] for _, _, match in _read(path, _SET, _SET_FORM)}


def identify_version(path: str, num_lines: int) -> tuple[str, str]:
    """Version of an official list, and what it was recognised by.

    Papers differ in the version they used, so every log says which one was read.

    Args:
        path (str): The list; its name may carry the version.
        num_lines (int): Its lines, which identify a complete official list.

    Returns:
        tuple[str, str]: ``'v1.0'``, ``'v1.1'``, ``'v1.0 and v1.1'`` (val lists are the same in both) or
        ``'unknown'``, and the reason in words.
    """
    named = re.search(r'v(1\.[01])(?!\d)', osp.basename(path))
    if num_lines in OFFICIAL_LINES:
        part, version = OFFICIAL_LINES[num_lines]
        reason = f'its {num_lines} lines are those of {part}'
        if named and named[0] not in version:
            reason += f', although its name says {named[0]}'
        return version, reason
    if named:
        return named[0], f'by its name; with {num_lines} lines it is not a complete official list'
    return 'unknown', f'{num_lines} lines are no official list'


@DATASETS.register_module()
class FineGymDataset(SingleLabelMixin, VideoDataset):
    """FineGym's elements, read from the official lists (METHOD 6), in clips of their own or in longer videos.

    In ``data_prefix['video']`` and the folders in it, the file of an element is
    ``VIDEO_E_START_END_A_START_END.mp4``. Where there is none, the element is a window of its event
    (``VIDEO_E_START_END``) or of the whole video (``VIDEO``), which the pipeline's ``ClipInit`` decodes without
    cutting; the log says how many are found in which way. See :class:`~mmdsts.datasets.finegym_files.FineGymFiles` for
    the names of files. Train and val lists share source videos, as published.

    Args:
        ann_file (str): An official list, see :func:`read_elements`.
        pipeline (list): Transforms, as in ``VideoDataset``.
        data_prefix (dict): ``video`` is the folder of the clips. Defaults to ``dict(video='')``.
        categories_file (str, optional): Names the classes, see :func:`read_categories`; becomes ``classes``
            and ``class_sets`` of the metainfo, which a checkpoint keeps. Defaults to None.
        sets_file (str, optional): Names the sets, see :func:`read_sets`; becomes ``set_names``. Defaults to
            None.
        info_file (str, optional): Temporal annotation, which gives windows to the frame, see
            :func:`~mmdsts.datasets.finegym_windows.read_times`. Defaults to None: that beside ``ann_file``, by its
            published name; without it, or where it contradicts a name, windows are as long as the whole seconds in
            names need, see :func:`~mmdsts.datasets.finegym_windows.named_window`.
        suffix (str): Ending of the files that are taken first. Defaults to ``'.mp4'``; ``.mp4``, ``.mkv`` and
            ``.webm`` are found, too.
        missing (str): What to do about clips that are not there. ``'skip'`` uses the others and logs how many
            clips and classes are left; ``'error'`` stops. Defaults to ``'error'``: a run on a part of the
            data, whose results are not comparable, is for the user to choose. Much of FineGym has vanished,
            so our FineGym configs choose it.
        **kwargs: Other arguments of ``VideoDataset``; ``num_classes`` bounds the labels.

    Raises:
        ValueError: A line is malformed, a label is not in the categories, a clip has two labels, a file is no text
            (see :func:`~mmdsts.datasets.text.read_text`), ``missing`` is unknown, or elements are windows and the
            pipeline decodes whole files.
        FileNotFoundError: A file or folder is not there, or clips are missing (see ``missing``), or all are.
    """

    METAINFO = dict(dataset_type='FineGym')

    def __init__(
        self,
        ann_file: str,
        pipeline: list,
        data_prefix: dict = dict(video=''),
        categories_file: str | None = None,
        sets_file: str | None = None,
        info_file: str | None = None,
        suffix: str = '.mp4',
        missing: str = 'error',
        num_classes: int | None = None,
        metainfo: dict | None = None,
        data_root: str = '',
        **kwargs: Any,
    ) -> None:
        self.info_file = info_file and _join(data_root, info_file)
        self.suffix = suffix
        self.missing = check_missing(missing)
        metainfo = dict(metainfo or {})
        if categories_file is not None:
            categories = read_categories(_join(data_root, categories_file))
            if num_classes not in (None, len(categories.classes)):
                raise ValueError(
                    f'num_classes={num_classes}, but {categories_file} has {len(categories.classes)} classes'
                )
            num_classes = len(categories.classes)
            metainfo.update(classes=categories.classes, class_sets=categories.sets)
        if sets_file is not None:
            metainfo.update(set_names=read_sets(_join(data_root, sets_file)))
        super().__init__(
            ann_file,
            pipeline,
            data_prefix=data_prefix,
            num_classes=num_classes,
            metainfo=metainfo,
            data_root=data_root,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Clips as ``dict(filename, label, video_id)``, windows with ``start`` and ``end`` in seconds; see the class
        for the errors.
        """
        elements = read_elements(self.ann_file)
        version, reason = identify_version(self.ann_file, len(elements))
        self._metainfo['annotation_version'] = version
        source = f'{type(self).__name__} {osp.basename(self.ann_file)}'
        print_log(
            f'{source}: version {version} ({reason}), {len(elements)} clips of '
            f'{len({label for _, label in elements})} classes',
            logger='current',
        )
        directory = self.data_prefix['video'] or '.'
        data_list = []
        for clip, label in elements:
            if self.num_classes is not None and label >= self.num_classes:
                raise ValueError(
                    f'{self.ann_file}: {clip} has label {label}, expected 0 to '
                    f'{self.num_classes - 1}; do list and categories belong together?'
                )
            filename = osp.join(directory, clip + self.suffix)
            data_list.append(dict(filename=filename, label=label, video_id=clip[:11]))
        data_list = drop_repeats(data_list, source)
        check_folder(directory, source)
        files = FineGymFiles(directory, self.suffix)
        names = [osp.basename(clip['filename'])[: -len(self.suffix) or None] for clip in data_list]
        found = [files.find(name) for name in names]
        there = [file is not None for file in found]
        kept = keep_available(data_list, there, directory, self.missing, source, self._metainfo.get('classes'))
        self._place(kept, *zip(*((name, file) for name, file in zip(names, found) if file)), source)
        return kept

    def _place(self, clips: list[dict], names: list[str], files: list[FineGymFile], source: str) -> None:
        """Write into clips where they are; say it."""
        windows = any(file.kind != 'clip' for file in files)
        info_file = self.info_file or (find_info(osp.dirname(self.ann_file)) if windows else None)
        times = read_times(info_file) if info_file else {}
        for clip, name, file in zip(clips, names, files):
            clip['filename'] = file.path
            window = file.window(name, times)
            if window is not None:
                clip['start'], clip['end'] = window
        if not windows:
            return
        self._check_pipeline(source)
        timed = sum(file.kind != 'clip' and name in times for name, file in zip(names, files))
        named = sum(file.kind != 'clip' for file in files) - timed
        print_log(
            f'{source}: {count_kinds(files)}; times of {timed} windows from {info_file or "no file"}, of {named} from '
            'the whole seconds of their names' + (', to about a second' if named else ''),
            logger='current',
        )

    def _check_pipeline(self, source: str) -> None:
        transforms = getattr(self.pipeline, 'transforms', [])
        of_files = any(isinstance(one, DecordDecode) and not isinstance(one, ClipDecode) for one in transforms)
        if transforms and (of_files or not any(isinstance(one, ClipInit) for one in transforms)):
            raise ValueError(
                f'{source}: {self.data_prefix["video"] or "."} has no clips of their own but longer videos, of which '
                'the pipeline does not decode windows: put ClipInit and ClipDecode where DecordInit and DecordDecode '
                'are, or cut clips with tools/data/prepare_finegym.py --cut'
            )


def _join(data_root: str, path: str) -> str:
    """Relative paths start at ``data_root``, as MMEngine does it for ``ann_file``."""
    return join_path(data_root, path) if data_root and not is_abs(path) else path


def _read(path: str, pattern: re.Pattern, form: str) -> list[tuple[int, str, re.Match]]:
    """Line numbers, lines and matches of the lines that are not blank."""
    if not exists(path):
        raise FileNotFoundError(f'{path} is not there; the official lists are at https://sdolivia.github.io/FineGym')
    found = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        match = pattern.fullmatch(line.strip())
        if match is None:
            raise ValueError(f'{path}, line {number}: found {line!r}, expected {form}')
        found.append((number, line, match))
    if not found:
        raise ValueError(f'{path} has no line of the form {form}')
    return found
