"""What DSTS needs is found for every kind of recognizer, and what cannot be attached is refused with the reason."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config

from mmdsts.analysis.attachment_trial import try_attachment
from mmdsts.attachment import Options, decide
from mmdsts.attachment.width import count_neck, layer_width
from mmdsts.errors import UsageError
from mmdsts.models import DSTSNeck

from .small_configs import CONFIGS, clips, config, slowonly

SMALL = Options(num_layers=1, num_neurons=2, hidden_channels=8)
#: Arguments of the neck that depend on the features, and what changes beside it.
EXPECTED = dict(
    slowonly=(dict(in_channels=32), {}),
    slowfast=(dict(in_channels=128, in_index=0, keep_stages=True), {}),
    mvit=(dict(in_channels=8, keep_stages=True, class_token='add'), {}),
    videomae=(dict(in_channels=12, class_token='return'), dict(backbone=dict(type='VisionTransformerWithMap'))),
    timesformer=(dict(in_channels=16, class_token='return'), dict(backbone=dict(type='TimeSformerWithMap'))),
    uniformerv2=(dict(in_channels=16, class_token='return'), dict(backbone=dict(type='UniFormerV2WithMap'))),
    tokens=(dict(in_channels=8, grid=(2, 2, 2), class_token='add'), {}),
    tsn=(dict(in_channels=512), dict(type='DSTSRecognizer2D', num_segments=3)),
    tsm=(dict(in_channels=512), dict(type='DSTSRecognizer2D')),
    tpn=(dict(in_channels=64, keep_stages=True), {}),
)


@pytest.mark.parametrize('name', CONFIGS)
def test_attached_the_scores_are_the_same_and_training_by_udl_changes_them(name):
    before = CONFIGS[name].to_dict()
    attachment, trial = try_attachment(CONFIGS[name], SMALL)
    neck, others = dict(attachment.model['neck']), {k: v for k, v in attachment.model.items() if k != 'neck'}
    if neck['type'] == 'NeckChain':
        neck, last = neck['necks']
        assert last['type'] == 'TPN'
    own = {k: v for k, v in neck.items() if k not in ('type', 'num_layers', 'num_neurons', 'hidden_channels')}
    assert (own, others) == EXPECTED[name]
    assert trial.difference <= 1e-6
    assert len(trial.losses) == 2
    assert trial.scores.shape == (3,) and trial.scores.isfinite().all()
    assert CONFIGS[name].to_dict() == before


@pytest.mark.parametrize('width', [None, 8])
@pytest.mark.parametrize('neurons', [1, 2, 5])
def test_parameters_are_counted_as_they_are(width, neurons):
    neck = dict(in_channels=20, hidden_channels=width, num_layers=3, num_neurons=neurons)
    assert count_neck(neck) == sum(p.numel() for p in DSTSNeck(**neck).parameters())


def test_the_layers_are_as_wide_as_the_share_allows():
    neck = dict(in_channels=128, num_layers=2, num_neurons=4)
    share = lambda width: (own := count_neck(dict(neck, hidden_channels=width))) / (own + 90_000)  # noqa: E731
    for largest in (0.2, 0.5):
        width = layer_width(neck, 90_000, Options(max_share=largest), 'c.py')
        assert width % 8 == 0
        assert share(width) <= largest < share(width + 8)
    assert layer_width(neck, 90_000, Options(max_share=0.99), 'c.py') is None  # no projections
    assert layer_width(neck, 90_000, Options(hidden_channels=5), 'c.py') == 5
    with pytest.raises(UsageError, match=r'even with hidden_channels=8 the neck would hold \d+ % .* more than 0.1 %'):
        layer_width(neck, 90_000, Options(max_share=0.001), 'c.py')


def test_pooled_features_only_when_asked_for():
    pooled = config(dict(type='TokenBackbone', pools=True), dict(type='TimeSformerHead', in_channels=8))
    with pytest.raises(UsageError, match=r'TokenBackbone returns \(B, 8\): it has pooled .* --pooled'):
        decide(pooled)
    attachment, trial = try_attachment(pooled, Options(1, 2, 8, pooled=True))
    assert attachment.model['neck']['grid'] == (1, 1, 1)
    assert trial.difference == 0
    asked = decide(CONFIGS['timesformer'], Options(1, 2, 8, pooled=True))
    assert 'backbone' not in asked.model and asked.model['neck']['grid'] == (1, 1, 1)


@pytest.mark.parametrize(
    ('cfg', 'reason'),
    [
        (Config(dict(a=1)), 'it has no model with a type'),
        (
            Config(dict(model=dict(type='RecognizerGCN', backbone=1, cls_head=1))),
            "'RecognizerGCN': it runs no neck, and",
        ),
        (
            Config(dict(model=dict(type='BMN'))),
            'expected Recognizer2D or Recognizer3D, the recognizers that run a neck',
        ),
        (Config(dict(model=dict(type='NoSuch'))), "'NoSuch' is no recognizer that is registered here"),
        (slowonly(neck=dict(type='DSTSNeck', in_channels=32)), 'its model has a DSTS neck already'),
        (slowonly(loaders=dict(train_dataloader=None)), 'it has a model and no data loaders.* inherits from it'),
        (slowonly(loaders=dict(train_dataloader=dict(dataset={}))), 'no pipeline of its data loaders says clip_len'),
        (config(dict(type='NoNet'), dict(type='I3DHead', in_channels=8)), 'model cannot be built: .*NoNet'),
        (
            config(dict(type='C3D', pretrained=None), dict(type='I3DHead', in_channels=8)),
            'does not run .*shape',
        ),
        (
            config(dict(type='TokenBackbone', grid=None), dict(type='ClassTokenHead', in_channels=8)),
            'TokenBackbone returns 9 tokens, and says in none of grid_size, .* from which grid',
        ),
        (Config(dict(model=dict(type='Recognizer3D', backbone=dict(type='C3D')))), 'model.cls_head is missing'),
    ],
)
def test_what_cannot_be_attached_is_said_in_a_line(cfg, reason):
    with pytest.raises(UsageError, match=reason) as told:
        decide(cfg)
    assert '\n' not in str(told.value)


@pytest.mark.parametrize('options', [dict(num_layers=0), dict(hidden_channels=0), dict(max_share=1.0)])
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Options(**options)


def test_nothing_is_downloaded_while_a_backbone_is_built():
    backbone = dict(type='TokenBackbone', pretrained='torchvision://resnet50')
    cfg = config(backbone, dict(type='ClassTokenHead', in_channels=8))
    assert decide(cfg, SMALL).model['neck']['grid'] == (2, 2, 2)
    assert cfg.model.backbone.pretrained == 'torchvision://resnet50'


def test_random_numbers_are_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    decide(slowonly(loaders=clips(4)), SMALL)
    assert torch.equal(torch.rand(1), expected)
