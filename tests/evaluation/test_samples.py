import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.structures import LabelData

from mmdsts.evaluation.samples import label_of, score_of

LABEL, SCORES = torch.tensor([3]), torch.tensor([0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    'fields',
    [
        dict(gt_label=LABEL, pred_score=SCORES),
        dict(gt_labels=LabelData(item=LABEL), pred_scores=LabelData(item=SCORES)),  # MMAction2 1.0
    ],
)
def test_label_and_scores_of_samples_and_of_their_dicts(fields):
    sample = ActionDataSample()
    for name, value in fields.items():
        setattr(sample, name, value)
    for form in (sample, sample.to_dict()):
        assert torch.equal(label_of(form), LABEL)
        assert torch.equal(score_of(form), SCORES)


def test_what_a_sample_lacks_is_named():
    with pytest.raises(KeyError, match='a data sample has no pred_score'):
        score_of(ActionDataSample())
