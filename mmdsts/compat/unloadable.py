"""Packages that are installed but cannot be loaded: MMAction2 and MMEngine reckon with absent ones alone."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
from types import ModuleType
from typing import Any

_MULTIMODAL = 'mmaction.models.multimodal'


def patch_unloadable_torchvision() -> bool:
    """Let a torchvision that cannot be loaded count as one that is not installed, when somebody asks for it.

    Beside a torch of another build its import raises ``RuntimeError`` ("operator torchvision::nms does not exist").
    MMEngine imports it to log the environment of each run and takes nothing but ``ModuleNotFoundError`` for an
    answer, so that nothing trained there; MMAction2, and what it uses if it is there, look for ``ImportError``.

    Returns:
        bool: whether imports were changed by this call.
    """
    if 'torchvision' in sys.modules or any(isinstance(finder, _TorchvisionFinder) for finder in sys.meta_path):
        return False
    if importlib.util.find_spec('torchvision') is None:
        return False
    sys.meta_path.insert(0, _TorchvisionFinder())
    return True


class _TorchvisionFinder(importlib.abc.MetaPathFinder):
    """Finds torchvision where it is found anyway; what its import raises becomes ``ModuleNotFoundError``."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != 'torchvision':
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and hasattr(spec.loader, 'exec_module'):
            stock = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                try:
                    stock(module)
                except ModuleNotFoundError:  # of a package that it needs, which the message names
                    raise
                except Exception as error:
                    raise ModuleNotFoundError(_told(error), name=name) from error

            spec.loader.exec_module = exec_module
        return spec


def _told(error: Exception) -> str:
    import torch

    try:
        version = f' {importlib.metadata.version("torchvision")}'
    except importlib.metadata.PackageNotFoundError:
        version = ''
    return (
        f'torchvision{version} is installed, but cannot be loaded beside torch {torch.__version__} '
        f'({type(error).__name__}: {" ".join(str(error).split())}). Install the one that was built for this torch'
    )


def patch_unloadable_multimodal() -> bool:
    """Let MMAction2 be imported where what its multimodal models need cannot be loaded.

    It imports them as soon as it finds ``transformers``, whether or not timm is there, which they need, too, and
    whichever ``transformers`` it is: later ones lack what they use. Then no model of MMAction2 could be imported.
    Their placeholders serve instead, as where ``transformers`` is missing; building one raises.

    Returns:
        bool: whether they were left out by this call.
    """
    user = 'mmaction.utils.dependency'
    if 'mmaction.models' in sys.modules or importlib.util.find_spec(user) is None:  # MMAction2 1.0 and 1.1 have none
        return False
    dependency = importlib.import_module(user)
    if not dependency.WITH_MULTIMODAL:
        return False

    from mmaction.registry import MODELS

    try:
        importlib.import_module('mmaction.models')
        return False
    except Exception:  # of whichever package; what has another cause comes again below
        dependency.WITH_MULTIMODAL = False
    for name, registered in list(MODELS.module_dict.items()):
        if registered.__module__.startswith(_MULTIMODAL):
            del MODELS.module_dict[name]
    importlib.import_module('mmaction.models')
    return True
