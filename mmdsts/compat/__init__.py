"""Repairs to the installed stack, so that MMAction2 1.x runs on today's packages (METHOD 5).

Each ``patch_*`` function looks for the very condition it repairs, does nothing where that condition does not
hold, may be called any number of times and says by its return value whether this call changed something.
:func:`apply_patches` calls them all; ``import mmdsts`` calls it before anything of MMAction2 is imported.
"""

from .checkpoints import checkpoint_globals, patch_weights_only
from .data import (
    patch_broken_clips,
    patch_evaluated_clips,
    patch_list_encodings,
    patch_loader_without_workers,
    patch_unpacked_sampling,
)
from .gradcam import patch_gradcam
from .model_index import is_index_unreadable, patch_model_index
from .packages import (
    patch_missing_drn,
    patch_missing_importlib_metadata,
    patch_missing_pkg_resources,
    require_stack,
)
from .processes import end_process_group, patch_cpu_launcher
from .recognizers import patch_chunked_testing
from .unloadable import patch_unloadable_multimodal, patch_unloadable_torchvision

__all__ = [
    'apply_patches',
    'checkpoint_globals',
    'end_process_group',
    'is_index_unreadable',
    'patch_broken_clips',
    'patch_chunked_testing',
    'patch_cpu_launcher',
    'patch_evaluated_clips',
    'patch_gradcam',
    'patch_list_encodings',
    'patch_loader_without_workers',
    'patch_missing_drn',
    'patch_missing_importlib_metadata',
    'patch_missing_pkg_resources',
    'patch_model_index',
    'patch_unloadable_multimodal',
    'patch_unloadable_torchvision',
    'patch_unpacked_sampling',
    'patch_weights_only',
    'require_stack',
]


def apply_patches() -> None:
    """Apply every patch whose condition holds here.

    Raises:
        ImportError: if the stack we plug into is not installed.
    """
    require_stack()
    patch_unloadable_torchvision()
    patch_missing_importlib_metadata()
    patch_missing_drn()
    patch_missing_pkg_resources()
    patch_unloadable_multimodal()
    patch_model_index()
    patch_weights_only()
    patch_cpu_launcher()
    patch_chunked_testing()
    patch_loader_without_workers()
    patch_list_encodings()
    patch_unpacked_sampling()
    patch_broken_clips()
    patch_evaluated_clips()
    patch_gradcam()
