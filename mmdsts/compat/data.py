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


def patch_unnamed_clips() -> bool:
    """Let MMAction2's data sets name the file that their pipeline fails on.

    The errors of decoders and transforms do not, and a data worker hands on nothing but the text of an error: a
    training over 26,000 clips ends without a word about which of them is broken.

    Returns:
        bool: whether the data sets were changed by this call.
    """
    from mmaction.datasets.base import BaseActionDataset

    if 'prepare_data' in vars(BaseActionDataset):
        return False

    def prepare_data(self, idx: int):
        try:
            return super(BaseActionDataset, self).prepare_data(idx)
        except ClipError:
            raise
        except Exception as error:
            from mmdsts.datasets.video import describe_error

            clip = self.get_data_info(idx)
            name = clip.get('filename') or clip.get('frame_dir') or f'number {idx} of {self.ann_file}'
            raise ClipError(f'clip {name}: {describe_error(name, error)}') from error

    BaseActionDataset.prepare_data = prepare_data
    return True


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
