"""Checkpoints of MMEngine, which ``torch.load`` refuses by itself."""

from __future__ import annotations

import pickle
from typing import Callable


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
    readable = [
        (HistoryBuffer, HistoryBuffer._statistics_methods),
        (
            OneCycleParamScheduler,
            {
                '_annealing_cos': OneCycleParamScheduler._annealing_cos,
                '_annealing_linear': OneCycleParamScheduler._annealing_linear,
            },
        ),
    ]
    for kind, attributes in readable:
        if owner is kind and name in attributes:
            return attributes[name]
    raise pickle.UnpicklingError(
        f'The checkpoint reads the attribute {name!r} of {owner!r}. Only these may be read: '
        + '; '.join(f'{sorted(attributes)} of {kind.__name__}' for kind, attributes in readable)
    )


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

    allowed = [
        (HistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (OneCycleParamScheduler, 'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler'),
        (_checkpoint_attribute, 'builtins.getattr'),
        (np.ndarray, 'numpy.ndarray'),
        (np.dtype, 'numpy.dtype'),
    ]
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
