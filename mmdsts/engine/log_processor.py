"""What of a training step is logged as its mean over a window."""

from __future__ import annotations

from mmengine.registry import LOG_PROCESSORS
from mmengine.runner import LogProcessor


@LOG_PROCESSORS.register_module()
class LayerLogProcessor(LogProcessor):
    """MMEngine's ``LogProcessor`` (>= 0.8), which also takes the mean over the window of what layers report:
    ``NAME/l0`` and ``NAME/l0_n3`` say little of a single batch. Arguments are those of its base class.
    """

    def __init__(self, *args, mean_pattern: str = r'.*(loss|time|data_time|grad_norm|/l\d).*', **kwargs) -> None:
        super().__init__(*args, mean_pattern=mean_pattern, **kwargs)
