import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.structures import LabelData

from mmdsts.evaluation.samples import label_of, labelled, score_of

LABEL, SCORES = torch.tensor([3]), torch.tensor([0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    'fields',
    [
        dict(gt_label=LABEL, pred_score=SCORES),
        dict(gt_labels=LabelData(item=LABEL), pred_scores=LabelData(item=SCORES)),  # MMAction2 1.0 and 1.1
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


class _Former:
    """A sample of MMAction2 1.0 and 1.1, as far as its label goes."""

    def set_gt_labels(self, label):
        self.gt_labels = label
        return self


def test_a_sample_is_labelled_under_the_names_of_each_version():
    assert label_of(labelled(3)).tolist() == [3]
    sample = _Former()
    assert labelled(3, sample) is sample and sample.gt_labels == 3
