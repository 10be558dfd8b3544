"""Backbones of torchvision and timm themselves, where those load."""

from __future__ import annotations

import importlib

import pytest

from mmdsts.analysis.attachment_trial import try_attachment
from mmdsts.attachment import Options, decide
from mmdsts.errors import UsageError

from .small_configs import clips, config

SMALL = Options(num_layers=1, num_neurons=2, hidden_channels=8)
#: Type, channels of its last map, other arguments, and the largest difference of scores at the start. MMAction2
#: averages prefix tokens (class, distillation) with the others, where DSTSRecognizer2D leaves them out.
SMALLEST = [
    ('torchvision.resnet18', 512, {}, 0),
    ('torchvision.mobilenet_v3_small', 576, {}, 0),
    ('torchvision.shufflenet_v2_x0_5', 1024, {}, 0),
    ('torchvision.swin_t', 768, dict(feature_shape='NHWC'), 0),
    ('timm.resnet18', 512, {}, 0),
    ('timm.convnext_atto', 320, {}, 0),
    ('timm.vit_tiny_patch16_224', 192, dict(img_size=64), 0.1),
    ('timm.swin_tiny_patch4_window7_224', 768, dict(img_size=64, window_size=2, feature_shape='NHWC'), 0),
]


def _require(name):
    try:
        importlib.import_module(name.split('.')[0])
    except ImportError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(('name', 'channels', 'settings', 'difference'), SMALLEST, ids=lambda value: str(value))
def test_attached_it_trains_and_starts_with_the_same_scores(name, channels, settings, difference):
    _require(name)
    head = dict(type='TSNHead', in_channels=channels)
    attachment, trial = try_attachment(
        config(dict(type=name, **settings), head, 'Recognizer2D', loaders=clips(1, 3)), SMALL
    )
    assert attachment.model['type'] == 'DSTSRecognizer2D'
    assert attachment.model['neck']['in_channels'] == channels
    assert trial.difference <= difference
    assert len(trial.losses) == 2
    assert trial.scores.isfinite().all()


def test_the_last_map_of_a_vision_transformer_of_torchvision():
    _require('torchvision')
    vit = dict(type='torchvision.vit_b_32', image_size=64)  # of which MMAction2 takes the logits
    with pytest.raises(UsageError, match='in_channels=1000 is the number of logits of VisionTransformer.* has 768 ch'):
        decide(config(vit, dict(type='TSNHead', in_channels=1000), 'Recognizer2D', loaders=clips(1, 3)), SMALL)
    attachment = decide(config(vit, dict(type='TSNHead', in_channels=768), 'Recognizer2D', loaders=clips(1, 3)), SMALL)
    assert attachment.model['neck']['in_channels'] == 768
