"""Repairs to the installed stack, so that MMAction2 1.x runs on today's packages (METHOD 5).

Each ``patch_*`` function looks for the very condition it repairs, does nothing where that condition does not
hold, may be called any number of times and says by its return value whether this call changed something.
:func:`apply_patches` calls them all; ``import mmdsts`` calls it before anything of MMAction2 is imported.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import importlib.metadata
import importlib.util
import pickle
import sys
import types
from pathlib import Path
from typing import Callable

from .errors import ClipError

_DRN = 'mmaction.models.localizers.drn'


def require_stack() -> None:
    """Check that what we plug into is installed.

    It is not among our install requirements: ``mmcv`` and ``mmcv-lite`` install the same package, and
    whichever is there must stay.

    Raises:
        ImportError: if torch, mmengine, mmcv or mmaction cannot be found.
    """
    needed = ('torch', 'mmengine', 'mmcv', 'mmaction')
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f'mmdsts is a plugin for MMAction2 1.x, but {", ".join(missing)} cannot be imported. '
            "Install MMAction2 as its documentation describes, or take the whole tested stack with "
            "`pip install 'mmdsts[standalone]'` (from a clone: `pip install '.[standalone]'`).")


def patch_missing_drn() -> bool:
    """Stand in for ``mmaction.models.localizers.drn`` where MMAction2 lacks it (mmaction2#2714).

    The wheel of ``mmaction2==1.2.0`` was built without that folder, while ``mmaction.models`` imports it, so
    that no model of MMAction2 can be imported. The stand-in is registered as ``DRN``; building it raises.

    Returns:
        bool: whether the stand-in was put in place by this call.
    """
    spec = importlib.util.find_spec('mmaction')
    if _DRN in sys.modules or spec is None:
        return False
    roots = spec.submodule_search_locations or ()
    if any(Path(root, 'models', 'localizers', 'drn').is_dir() for root in roots):
        return False

    from mmaction.registry import MODELS  # this module alone imports without mmaction.models

    class DRN:
        """Stands for the localizer that the installed MMAction2 was built without."""

        def __init__(self, *args, **kwargs) -> None:
            raise ImportError('DRN was asked for, but the installed mmaction2 was built without its folder '
                              'mmaction/models/localizers/drn. To use DRN install MMAction2 from its git '
                              'repository.')

    package, module = types.ModuleType(_DRN), types.ModuleType(f'{_DRN}.drn')
    package.__path__ = []  # what makes a module a package for the import system
    package.drn, module.DRN = module, DRN
    sys.modules[package.__name__], sys.modules[module.__name__] = package, module
    if 'DRN' not in MODELS.module_dict:
        MODELS.register_module(module=DRN)
    return True


def patch_missing_importlib_metadata() -> bool:
    """Let MMAction2 be imported where the backport ``importlib_metadata`` is not installed.

    MMAction2 imports it without declaring it. We declare it, but MIM runs pip with the packages vendored in
    setuptools in sight and takes it for installed. The standard library's module serves for what
    ``mmaction.utils.dependency`` uses; it goes by the other name during that one import only.

    Returns:
        bool: whether that module was imported that way by this call.
    """
    user = 'mmaction.utils.dependency'
    if user in sys.modules or importlib.util.find_spec('importlib_metadata') is not None:
        return False
    if importlib.util.find_spec(user) is None:  # MMAction2 1.0 has no such module
        return False
    sys.modules['importlib_metadata'] = importlib.metadata
    try:
        importlib.import_module(user)
    finally:
        del sys.modules['importlib_metadata']
    return True


def _is_installed(package: str) -> bool:
    """Whether a distribution or a module of this name is installed."""
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None
    return True


def _get_installed_path(package: str) -> str:
    """Folder of a package, given the name of its module or of its distribution.

    Raises:
        RuntimeError: if neither an installed distribution nor a module has this name.
    """
    names = [package]
    try:
        top_level = importlib.metadata.distribution(package).read_text('top_level.txt') or ''
        names += top_level.split()
    except importlib.metadata.PackageNotFoundError:
        top_level = ''
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            return str(Path(spec.origin).parent)
    raise RuntimeError(f'Cannot tell where {package!r} is installed: no module is called '
                       f'{" or ".join(names)}. Install it with `pip install {package}`.')


def patch_missing_pkg_resources() -> bool:
    """Let MMEngine find installed packages where ``pkg_resources`` is gone (setuptools 82 removed it).

    MMEngine asks ``pkg_resources`` whether and where a package is installed when a config inherits from
    ``'mmaction::...'``. Its two functions are replaced by ones on ``importlib.metadata``.

    Returns:
        bool: whether they were replaced by this call.
    """
    import mmengine.config.config
    import mmengine.hub.hub
    import mmengine.utils.package_utils as package_utils

    if importlib.util.find_spec('pkg_resources') is not None or package_utils.is_installed is _is_installed:
        return False
    for module in (package_utils, mmengine.utils, mmengine.config.config, mmengine.hub.hub):
        for name, ours in (('is_installed', _is_installed), ('get_installed_path', _get_installed_path)):
            if hasattr(module, name):
                setattr(module, name, ours)
    return True


def _checkpoint_attribute(owner: type, name: str) -> Callable:
    """Stand in for ``getattr`` in a checkpoint, limited to the two uses MMEngine makes of it.

    A ``HistoryBuffer`` is pickled together with its class's statistics (``min``, ``max``, ``current`` and
    ``mean``), a one-cycle scheduler with its annealing function, each as ``getattr(class, name)``. The real
    ``getattr`` would hand a checkpoint any attribute of anything it can name.

    Raises:
        pickle.UnpicklingError: for any other object or name.
    """
    from mmengine.logging import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    HistoryBuffer()  # the first one made fills the table of its class
    readable = [(HistoryBuffer, HistoryBuffer._statistics_methods),
                (OneCycleParamScheduler, {'_annealing_cos': OneCycleParamScheduler._annealing_cos,
                                          '_annealing_linear': OneCycleParamScheduler._annealing_linear})]
    for kind, attributes in readable:
        if owner is kind and name in attributes:
            return attributes[name]
    raise pickle.UnpicklingError(
        f'The checkpoint reads the attribute {name!r} of {owner!r}. Only these may be read: '
        + '; '.join(f'{sorted(attributes)} of {kind.__name__}' for kind, attributes in readable))


def checkpoint_globals() -> list:
    """What MMEngine's own checkpoints name beside tensors and builtin types.

    The message hub keeps the history of each logged value in a ``HistoryBuffer`` around two numpy arrays, and
    the best score so far as the metric returned it, often a numpy scalar. A one-cycle scheduler keeps a
    function.

    Returns:
        list[tuple]: pairs (object, full name in the file). Numpy 2 moved two functions; files written with
        either numpy are read with either.
    """
    import numpy as np
    from mmengine.logging import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    try:
        from numpy._core import multiarray
    except ImportError:  # numpy < 1.26
        from numpy.core import multiarray

    allowed = [(HistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
               (OneCycleParamScheduler, 'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler'),
               (_checkpoint_attribute, 'builtins.getattr'),
               (np.ndarray, 'numpy.ndarray'), (np.dtype, 'numpy.dtype')]
    for home in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        allowed += [(multiarray._reconstruct, f'{home}._reconstruct'), (multiarray.scalar, f'{home}.scalar')]
    for name in ('float64', 'float32', 'int64'):  # losses and counts; a score computed in single precision
        kind = type(np.dtype(name))
        allowed.append((kind, f'{kind.__module__}.{kind.__qualname__}'))
    return allowed


def patch_weights_only() -> bool:
    """Let ``torch.load`` read MMEngine's own checkpoints (mmengine#1655).

    From torch 2.6 on, ``torch.load`` refuses every class that is not on its list (``weights_only=True``), and
    with it each checkpoint of MMEngine. :func:`checkpoint_globals`, and nothing more, is put on that list.

    Returns:
        bool: whether the list grew by this call.
    """
    import torch
    from mmengine.utils import digit_version

    if digit_version(torch.__version__) < digit_version('2.6'):
        return False
    present = torch.serialization.get_safe_globals()
    new = [entry for entry in checkpoint_globals() if entry not in present]
    torch.serialization.add_safe_globals(new)
    return bool(new)


def patch_cpu_launcher() -> bool:
    """Let MMEngine's ``pytorch`` launcher work on a machine without an accelerator.

    It calls ``torch.cuda.set_device`` before it initialises the process group, and hands a device number to
    ``DistributedDataParallel``. On the CPU the group uses ``gloo`` instead of ``nccl`` and no device number, and is
    ended before the interpreter is (:func:`end_process_group`).

    Returns:
        bool: whether the launcher was replaced by this call.
    """
    import torch
    from mmengine.device import get_device
    from mmengine.dist import utils as dist_utils
    from mmengine.model import MMDistributedDataParallel

    if get_device() not in ('cpu', 'mps') or hasattr(dist_utils._init_dist_pytorch, '__wrapped__'):
        return False

    @functools.wraps(dist_utils._init_dist_pytorch)
    def init_on_cpu(backend: str, init_backend: str = 'torch', **kwargs) -> None:
        if init_backend != 'torch':
            raise ValueError(f'env_cfg.dist_cfg.init_backend is {init_backend!r}, which needs a GPU, but '
                             "there is none. Leave it out or set it to 'torch'.")
        torch.distributed.init_process_group(backend='gloo' if backend == 'nccl' else backend, **kwargs)
        atexit.register(end_process_group)

    wrapped_init = MMDistributedDataParallel.__init__

    @functools.wraps(wrapped_init)
    def without_device(self, module, *args, device_ids=None, **kwargs) -> None:
        on_cpu = all(tensor.device.type == 'cpu' for tensor in module.parameters())
        wrapped_init(self, module, *args, device_ids=None if on_cpu else device_ids, **kwargs)

    dist_utils._init_dist_pytorch = init_on_cpu
    MMDistributedDataParallel.__init__ = without_device
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


def _list_from_file(filename: str, *args, **kwargs) -> list[str]:
    """Lines of a text file in any Unicode encoding; MMEngine's function where more is asked for."""
    from mmengine.fileio import list_from_file

    from .datasets.text import read_lines

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
            from .datasets.video import describe_error

            clip = self.get_data_info(idx)
            name = clip.get('filename') or clip.get('frame_dir') or f'number {idx} of {self.ann_file}'
            raise ClipError(f'clip {name}: {describe_error(name, error)}') from error

    BaseActionDataset.prepare_data = prepare_data
    return True


def end_process_group() -> None:
    """End the process group of a process that has done its work, if there is one.

    A process that leaves it to the interpreter's end aborts now and then, its work done (SIGABRT,
    pytorch#190489): a thread of ``gloo`` drops a reference into an interpreter that is going down. Gradient
    reducers that are garbage go first: one that outlives the group waits for that thread while it keeps the
    thread from going on. After an unhandled exception the group is left alone, for its end waits for operations
    that other processes may never join.
    """
    import torch.distributed

    if torch.distributed.is_initialized() and getattr(sys, 'last_type', None) is None:
        gc.collect()
        torch.distributed.destroy_process_group()


def patch_chunked_testing() -> bool:
    """Tell a neck that the chunks of ``Recognizer3D`` are one batch.

    With ``test_cfg.max_testing_views`` the recognizer runs the neck for a few views at a time, and a neck that keeps
    what it decided would keep the last few. Modules with a context manager ``one_batch`` are entered for the batch.

    Returns:
        bool: whether the recognizer was wrapped by this call.
    """
    from mmaction.models.recognizers import Recognizer3D

    extract_feat = Recognizer3D.extract_feat
    if hasattr(extract_feat, '__wrapped__'):
        return False

    @functools.wraps(extract_feat)
    def extract_feat_of_batch(self, *args, **kwargs):
        with contextlib.ExitStack() as stack:
            if (self.test_cfg or {}).get('max_testing_views'):
                for module in self.modules():
                    if hasattr(module, 'one_batch'):
                        stack.enter_context(module.one_batch())
            return extract_feat(self, *args, **kwargs)

    Recognizer3D.extract_feat = extract_feat_of_batch
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


def apply_patches() -> None:
    """Apply every patch whose condition holds here.

    Raises:
        ImportError: if the stack we plug into is not installed.
    """
    require_stack()
    patch_missing_importlib_metadata()
    patch_missing_drn()
    patch_missing_pkg_resources()
    patch_weights_only()
    patch_cpu_launcher()
    patch_chunked_testing()
    patch_loader_without_workers()
    patch_list_encodings()
    patch_unpacked_sampling()
    patch_unnamed_clips()
