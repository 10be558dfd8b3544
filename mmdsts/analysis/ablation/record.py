"""Class scores of every test clip, written to a file by the test of a run."""

from __future__ import annotations

from typing import Any, Sequence

import torch
from mmaction.registry import METRICS
from mmengine.evaluator import BaseMetric

from mmdsts.evaluation.samples import label_of, score_of


@METRICS.register_module()
class ClipScores(BaseMetric):
    """Writes ``scores``, float32 of shape ``(n, K)``, and ``labels``, long of shape ``(n,)``, in the order of the set.

    Args:
        out: File to write, read by ``torch.load(weights_only=True)``.
        **kwargs: Of MMEngine's ``BaseMetric``.
    """

    def __init__(self, out: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.out = out

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Take the scores of a batch; of several views that were not averaged, the mean."""
        for sample in data_samples:
            score = score_of(sample)
            score = score.mean(dim=0) if score.dim() > 1 else score
            self.results.append((score.float().cpu(), label_of(sample).reshape(-1)[0].cpu()))

    def compute_metrics(self, results: list) -> dict:
        """Write the file; there is nothing to log."""
        scores, labels = map(torch.stack, zip(*results))
        torch.save(dict(scores=scores, labels=labels), self.out)
        return {}
