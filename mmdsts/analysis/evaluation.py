"""Testing a checkpoint and recording its routing in the same pass."""

from __future__ import annotations

from typing import NamedTuple

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch import Tensor

from .routing import RoutingRecordHook


class Evaluation(NamedTuple):
    """What one pass over the test set gave.

    Attributes:
        metrics: The evaluator's figures by name.
        counts: See :class:`~mmdsts.analysis.routing.RoutingRecordHook`; ``None`` for a model without DSTS
            neck.
        parameters: Number of trained values in the model.
    """

    metrics: dict[str, float]
    counts: Tensor | None
    parameters: int


def evaluate(cfg: Config, checkpoint: str, work_dir: str) -> Evaluation:
    """Test a checkpoint on the test set of its config.

    Args:
        cfg: Config of a single-label recognizer.
        checkpoint: Checkpoint file.
        work_dir: Folder for the log of the test.

    Returns:
        Metrics, routing counts and size.
    """
    cfg = cfg.copy()
    cfg.work_dir = work_dir
    cfg.load_from = checkpoint
    cfg.log_level = 'WARNING'
    # A runner of the same name would find the logger and visualizer of an earlier one in this process.
    cfg.experiment_name = f'evaluate_{len(MMLogger._instance_dict)}'
    runner = Runner.from_cfg(cfg)
    record = RoutingRecordHook(cfg.model.cls_head.num_classes)
    runner.register_hook(record)
    metrics = runner.test()
    return Evaluation(metrics, record.counts, sum(p.numel() for p in runner.model.parameters()))
