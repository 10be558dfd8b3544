"""The metric that our configs log and select the best checkpoint by."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
from mmaction.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from .accuracy import fit_sets, mean_class_accuracy, predicted_class, rank_of_label, set_accuracy
from .confusion import confusion_matrix, most_confused, write_class_table
from .samples import label_of, score_of


@METRICS.register_module()
class ClassAccuracyMetric(BaseMetric):
    """Top-k accuracy and mean class accuracy over the classes that occur.

    Logs, all but the last from 0 to 1:

    - ``acc/top1``, ``acc/top5``: share of samples whose class is among the best k.
    - ``acc/mean1``: top-1 accuracy of each class, averaged over the classes that occur in the ground truth. MMAction2's
      ``AccMetric`` also takes in, at 0, every class that occurs nowhere but is predicted somewhere; on a part of a data
      set, which is the normal case for FineGym, its figure depends on where the errors go. Where each class occurs,
      the two agree.
    - ``acc/set``, ``acc/within_set``: coarse and fine accuracy (:func:`~mmdsts.evaluation.accuracy.set_accuracy`), if
      the data set says in its metainfo to which set each class belongs (``class_sets``, as ``FineGymDataset`` does).
    - ``acc/num_classes``: number of classes that ``acc/mean1`` is taken over.

    The pairs of classes that are most often taken for each other stand below in the log, by name: no visualizer could
    draw them.

    Args:
        topk (Sequence[int]): Which top-k accuracies to log. Defaults to ``(1, 5)``.
        collect_device (str): Where the results of several processes are gathered, ``'cpu'`` or ``'gpu'``. Defaults to
            ``'cpu'``.
        prefix (str, optional): Stands for ``acc`` in the names. Defaults to None.
        num_pairs (int): How many confused pairs to log. Defaults to 5.
        class_table (str, optional): CSV file to write with a line for each class, anew after each evaluation
            (:func:`~mmdsts.evaluation.confusion.write_class_table`). Defaults to None.

    Raises:
        ValueError: ``topk`` is empty or has a number below 1, or ``num_pairs`` is below 0; or, at a sample, it has
            several labels, none (a list without labels), one that the model does not have, or scores of another shape
            than ``(num_classes, )``.
    """

    default_prefix = 'acc'

    def __init__(
        self,
        topk: Sequence[int] = (1, 5),
        collect_device: str = 'cpu',
        prefix: str | None = None,
        num_pairs: int = 5,
        class_table: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        topk = (topk,) if isinstance(topk, int) else tuple(topk)
        if not topk or any(not isinstance(k, int) or k < 1 for k in topk):
            raise ValueError(f'topk is {topk}, expected one or more whole numbers from 1 on, such as (1, 5)')
        if not isinstance(num_pairs, int) or num_pairs < 0:
            raise ValueError(f'num_pairs is {num_pairs!r}, expected how many confused pairs to log, 0 or more')
        self.topk = topk
        self.num_pairs = num_pairs
        self.class_table = class_table

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep scores and label of each sample.

        Args:
            data_batch: Not used.
            data_samples: Samples after ``predict``, as dicts.
        """
        for sample in data_samples:
            scores, labels = _scores_and_labels(sample)
            if scores.ndim != 1:
                raise ValueError(
                    f'A sample has scores of shape {scores.shape}, expected (num_classes, ): let the head '
                    "average its views, model.cls_head.average_clips='prob'"
                )
            if len(labels) != 1:
                raise ValueError(f'A sample has {len(labels)} labels, expected one; use AccMetric for several')
            label = int(labels[0])
            if not 0 <= label < len(scores):
                raise ValueError(
                    f'A sample has the label {label}, but the model has {len(scores)} classes, 0 to {len(scores) - 1}'
                    + ('; its annotation list gives no label' if label == -1 else '; set model.cls_head.num_classes')
                )
            self.results.append((scores, label))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The figures by name, without prefix.

        Args:
            results: What :meth:`process` kept, of all processes.
        """
        scores = np.stack([scores for scores, _ in results])
        labels = np.array([label for _, label in results])
        rank = rank_of_label(scores, labels)
        metrics = {f'top{k}': float((rank < k).mean()) for k in self.topk}
        metrics['mean1'], num_classes = mean_class_accuracy(rank == 0, labels)
        meta = self.dataset_meta or {}
        class_sets = meta.get('class_sets')
        if class_sets is not None:
            class_sets = fit_sets(class_sets, scores.shape[1])
            metrics['set'], metrics['within_set'] = set_accuracy(scores, labels, class_sets)
        metrics['num_classes'] = num_classes
        predicted = predicted_class(scores)
        pairs = most_confused(confusion_matrix(labels, predicted, scores.shape[1]), self.num_pairs)
        if pairs:
            told = '; '.join(pair.describe(meta.get('classes')) for pair in pairs)
            print_log(f'most confused: {told}', logger='current')
        if self.class_table is not None:
            write_class_table(self.class_table, scores, labels, predicted, meta.get('classes'), class_sets)
        return metrics


def _scores_and_labels(sample: dict) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = score_of(sample), label_of(sample)
    if isinstance(scores, dict):
        raise ValueError(f'A sample has scores of several modalities, {sorted(scores)}; use AccMetric for them')
    return scores.float().cpu().numpy(), labels.cpu().numpy().reshape(-1)
