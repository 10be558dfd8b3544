"""Repairs to the installed stack, each applied only where it is needed (METHOD 5)."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path


def patch_missing_drn() -> bool:
    """Stand in for ``mmaction.models.localizers.drn`` where the installed MMAction2 lacks it (mmaction2#2714)."""
    name = 'mmaction.models.localizers.drn'
    spec = importlib.util.find_spec('mmaction')
    if spec is None or name in sys.modules:
        return False
    if any((Path(p) / 'models' / 'localizers' / 'drn').is_dir() for p in spec.submodule_search_locations or ()):
        return False

    class DRN:
        """Stands for the DRN localizer that this MMAction2 distribution lacks."""

        def __init__(self, *args, **kwargs) -> None:
            raise ImportError('DRN is not part of the installed mmaction2 (its wheel lacks '
                              'mmaction/models/localizers/drn); install MMAction2 from its git repository to use DRN')

    package, module = types.ModuleType(name), types.ModuleType(name + '.drn')
    package.__path__ = []
    package.drn, module.DRN = module, DRN
    sys.modules[name], sys.modules[name + '.drn'] = package, module
    return True


def apply_patches() -> None:
    """Apply every patch whose condition holds."""
    patch_missing_drn()
