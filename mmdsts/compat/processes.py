"""Processes of a distributed run on a machine without an accelerator: their start and their end."""

from __future__ import annotations

import atexit
import functools
import gc
import sys


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
            raise ValueError(
                f'env_cfg.dist_cfg.init_backend is {init_backend!r}, which needs a GPU, but '
                "there is none. Leave it out or set it to 'torch'."
            )
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
