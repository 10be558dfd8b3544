"""Lists, samples and loaders."""

from __future__ import annotations

import functools

from mmdsts.errors import ClipError


def _list_from_file(filename: str, *args, **kwargs) -> list[str]:
    """Lines of a text file in any Unicode encoding; MMEngine's function where more is asked for."""
    from mmengine.fileio import list_from_file

    from mmdsts.datasets.text import read_lines

    return list_from_file(filename, *args, **kwargs) if args or kwargs else read_lines(filename)


def patch_list_encodings() -> bool:
    """Let MMAction2's data sets read lists with a byte order mark, or in UTF-16, as programs on Windows write them.

    A mark became part of the name of the first clip, which was then not found.

    Returns:
        bool: whether the data sets were changed by this call.
    """
    from mmaction.datasets import rawframe_dataset, video_dataset

    if video_dataset.list_from_file is _list_from_file:
        return False
    for module in (video_dataset, rawframe_dataset):
        module.list_from_file = _list_from_file
    return True


def patch_broken_clips() -> bool:
    """Let MMAction2's data sets name the file that their pipeline fails on, and train without it.

    The errors of decoders and transforms do not name it, and a data worker hands on nothing but the text of an error:
    a training over 26,000 clips ended without a word about which of them is broken. MMEngine's own way in training is
    to take another clip where a pipeline gives ``None``, which no decoder does.

    In training, a clip whose file cannot be decoded is left out, as long as no more than the share ``max_broken`` of
    the list is (:class:`~mmdsts.datasets.broken.BrokenClips`); all data sets of MMAction2 take that argument from then
    on. An error that the file is not to blame for is raised, and so is any in testing (``test_mode``), where another
    clip's score would be taken for this one's, and with ``max_refetch=0``.

    Returns:
        bool: whether the data sets were changed by this call.
    """
    from mmaction.datasets.base import BaseActionDataset

    if 'prepare_data' in vars(BaseActionDataset):
        return False
    stock_init = BaseActionDataset.__init__

    @functools.wraps(stock_init)
    def __init__(self, *args, max_broken: float | None = None, **kwargs) -> None:  # noqa: N807
        self.max_broken = max_broken
        stock_init(self, *args, **kwargs)

    def full_init(self) -> None:
        super(BaseActionDataset, self).full_init()
        if not self.test_mode:
            _broken_clips(self)  # before data workers are started, which share it

    def prepare_data(self, idx: int):
        if self.test_mode or not self.max_refetch:
            return _load(self, idx)
        broken = _broken_clips(self)
        if idx in broken:
            return None
        try:
            clip = _load(self, idx)
        except ClipError as error:
            if not _file_is_to_blame(self.get_data_info(idx), error):
                raise
            broken.note(idx, error)
            return None
        broken.note_good(idx)
        return clip

    BaseActionDataset.__init__ = __init__
    BaseActionDataset.full_init = full_init
    BaseActionDataset.prepare_data = prepare_data
    return True


def _load(dataset, idx: int):
    """What the pipeline makes of a clip; an error of it becomes a ClipError that names the clip."""
    from mmengine.dataset import BaseDataset

    from mmdsts.datasets.completeness import refuse_incomplete
    from mmdsts.datasets.decoding.window import name_clip
    from mmdsts.datasets.video import describe_error

    clip = dataset.get_data_info(idx)
    if 'filename' in clip and not _is_window(clip):
        refuse_incomplete(clip['filename'])  # decoders do not notice: they give the frames that are there
    try:
        return BaseDataset.prepare_data(dataset, idx)
    except ClipError:
        raise
    except Exception as error:
        name = clip.get('filename') or clip.get('frame_dir') or f'number {idx} of {dataset.ann_file}'
        place = name_clip(name, clip.get('start'), clip.get('end'))
        raise ClipError(f'{place}: {describe_error(name, error)}') from error


def _broken_clips(dataset):
    """The record of a training set's broken clips, made for its length."""
    from mmdsts.datasets.broken import MAX_BROKEN, BrokenClips

    record = getattr(dataset, 'broken_clips', None)
    if record is None or len(record) != len(dataset):
        share = MAX_BROKEN if dataset.max_broken is None else dataset.max_broken
        record = dataset.broken_clips = BrokenClips(len(dataset), share, dataset.ann_file or type(dataset).__name__)
    return record


def _file_is_to_blame(clip: dict, error: ClipError) -> bool:
    """Whether the file of a clip, and not the pipeline, is what makes its loading fail."""
    from mmdsts.datasets.video import check_every_frame

    cause = error.__cause__
    # Of a transform that looked at the file itself, or of a decoder.
    if cause is None or type(cause).__module__.split('.')[0] in ('decord', 'av'):
        return True
    path = clip.get('filename')
    if not path or '://' in path or _is_window(clip):
        return False
    try:
        check_every_frame(path)
    except ClipError:
        return True
    return False


def _is_window(clip: dict) -> bool:
    """Whether a clip is a part of its file, which may be hours long."""
    return clip.get('start') is not None or clip.get('end') is not None


def patch_evaluated_clips() -> bool:
    """Let validation and testing never take another clip for one that cannot be loaded.

    MMEngine's data sets do that unless they are told that they test. A config that forgets ``test_mode=True`` counted a
    random clip's score for the broken one's.

    Returns:
        bool: whether the loops were changed by this call.
    """
    from mmengine.runner import TestLoop, ValLoop

    if hasattr(ValLoop.__init__, '__wrapped__'):
        return False
    for loop in (ValLoop, TestLoop):
        loop.__init__ = _for_evaluation(loop.__init__)
    return True


def _for_evaluation(stock):
    @functools.wraps(stock)
    def __init__(self, *args, **kwargs) -> None:  # noqa: N807
        from mmdsts.datasets.parts import never_replace

        stock(self, *args, **kwargs)
        never_replace(getattr(self.dataloader, 'dataset', None))

    return __init__


def patch_unpacked_sampling() -> bool:
    """Let test samples say how their frames were sampled: ``num_clips`` and ``clip_len``.

    A 2D recognizer gets the frames of all clips and crops of a video in one row. ``PackActionInputs`` leaves out of the
    sample what its pipeline knows of them, so that the recognizer could not tell which frames make a view.

    Returns:
        bool: whether the transform was wrapped by this call.
    """
    from mmaction.datasets.transforms import PackActionInputs

    transform = PackActionInputs.transform
    if hasattr(transform, '__wrapped__'):
        return False

    @functools.wraps(transform)
    def transform_with_sampling(self, results: dict) -> dict:
        packed = transform(self, results)
        known = {key: results[key] for key in ('num_clips', 'clip_len') if key in results}
        packed['data_samples'].set_metainfo(known)
        return packed

    PackActionInputs.transform = transform_with_sampling
    return True


def patch_loader_without_workers() -> bool:
    """Let MMEngine build a loader with ``num_workers=0`` from a config that is written for workers.

    torch refuses options about workers where there are none, so that ``--cfg-options train_dataloader.num_workers=0``,
    the first thing to try when something in a pipeline goes wrong, fails with every config that keeps its workers.

    Returns:
        bool: whether ``Runner.build_dataloader`` was replaced by this call.
    """
    from mmengine.runner import Runner

    stock = Runner.build_dataloader
    if hasattr(stock, '__wrapped__'):
        return False

    @functools.wraps(stock)
    def build_dataloader(dataloader, *args, **kwargs):
        if isinstance(dataloader, dict) and not dataloader.get('num_workers', 0):
            about_workers = ('persistent_workers', 'prefetch_factor', 'timeout', 'multiprocessing_context')
            dataloader = {key: value for key, value in dataloader.items() if key not in about_workers}
        return stock(dataloader, *args, **kwargs)

    Runner.build_dataloader = staticmethod(build_dataloader)
    return True
