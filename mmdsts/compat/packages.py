"""Packages of the stack that are missing, or lack a part: without them MMAction2 cannot be imported."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import types
from pathlib import Path

_DRN = 'mmaction.models.localizers.drn'


def require_stack() -> None:
    """Check that what we plug into is installed.

    It is not among our install requirements: ``mmcv`` and ``mmcv-lite`` install the same package, and
    whichever is there must stay.

    Raises:
        ImportError: if torch, mmengine, mmcv or mmaction cannot be found, or torch is older than 2.0.
    """
    needed = ('torch', 'mmengine', 'mmcv', 'mmaction')
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f'mmdsts is a plugin for MMAction2 1.x, but {", ".join(missing)} cannot be imported. '
            'Install MMAction2 as its documentation describes, or take the whole tested stack with '
            "`pip install 'mmdsts[standalone]'` (from a clone: `pip install '.[standalone]'`)."
        )
    import torch

    if int(torch.__version__.split('.')[0]) < 2:  # torch.func came with 2.0
        raise ImportError(f'mmdsts needs torch >= 2.0, found {torch.__version__}; install a newer one, and its mmcv')


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
            raise ImportError(
                'DRN was asked for, but the installed mmaction2 was built without its folder '
                'mmaction/models/localizers/drn. To use DRN install MMAction2 from its git '
                'repository.'
            )

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
    if importlib.util.find_spec(user) is None:  # MMAction2 1.0 and 1.1 have no such module
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
    raise RuntimeError(
        f'Cannot tell where {package!r} is installed: no module is called '
        f'{" or ".join(names)}. Install it with `pip install {package}`.'
    )


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
