"""DSTS neck and Upstream-Downstream Learning for MMAction2 1.x.

Importing this package is all that an MMAction2 set-up needs: it repairs what is broken in the installed stack
(``mmdsts.compat``) and registers every class of the package with MMAction2.
"""

from .compat import apply_patches

# Before anything of MMAction2 is imported: some of the patches make that import possible.
apply_patches()

from . import datasets, deployment, engine, evaluation, models  # noqa: E402
from .deployment import deploy  # noqa: E402
from .version import __version__  # noqa: E402

__all__ = ['__version__', 'attach', 'datasets', 'deploy', 'deployment', 'engine', 'evaluation', 'models']


def __getattr__(name: str):
    """``mmdsts.attach``, imported when it is asked for: training needs nothing of it."""
    if name == 'attach':
        from .attachment import attach

        return attach
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
