"""Grad-CAM on layers of a neck, against its definition."""

import pytest
import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from mmaction.utils.gradcam_utils import GradCAM

from mmdsts.compat import patch_gradcam
from mmdsts.evaluation.samples import labelled

from ..engine.toy_recognizer import recognizer_config
from ..models.recognizers2d import C, S, head

NECK = dict(type='DSTSNeck', num_layers=2, num_neurons=3, zero_init=False)


def recognizer(kind):
    torch.manual_seed(0)
    if kind == '3d':
        return MODELS.build(recognizer_config(dropout=0)).eval(), torch.rand(1, 1, 3, 4, 8, 8)
    config = dict(
        type='DSTSRecognizer2D',
        backbone=dict(type='FrameBackbone'),
        neck=dict(NECK, in_channels=C),
        cls_head=head(),
        num_segments=S,
    )
    return MODELS.build(config).eval(), torch.rand(1, S, 3, 8, 8)


def test_is_applied_once():
    assert patch_gradcam() is False


@pytest.mark.parametrize('layer', ['neck/layers/0', 'neck/layers/1/fuse', 'neck/layers/0/spatial_norm'])
@pytest.mark.parametrize('kind', ['3d', '2d'])
def test_map_of_a_layer_is_that_of_the_definition(kind, layer):
    model, inputs = recognizer(kind)
    seen = {}
    module = model.get_submodule(layer.replace('/', '.'))

    def keep(module, args, output):
        seen['out'] = output[0] if isinstance(output, tuple) else output
        seen['out'].retain_grad()

    handle = module.register_forward_hook(keep)
    sample = labelled(1)
    blended, scores = GradCAM(model, layer)(dict(inputs=list(inputs), data_samples=[sample]))
    handle.remove()
    assert blended.shape == (1, 4 if kind == '3d' else S, 8, 8, 3)

    maps, gradient = seen['out'].detach(), seen['out'].grad
    # A weight for each channel and frame: the mean of the gradient of the best score over the picture.
    expected = (gradient.mean((3, 4), keepdim=True) * maps).sum(1, keepdim=True).relu()
    expected = F.interpolate(expected, size=blended.shape[1:4], mode='trilinear', align_corners=False)[:, 0]
    expected = (expected - expected.min()) / (expected.max() - expected.min() + 1e-20)
    found, _ = GradCAM(model, layer)._calculate_localization_map(
        dict(inputs=list(inputs), data_samples=[sample]), use_labels=False
    )
    assert expected.max() > 0.5
    torch.testing.assert_close(found.reshape(expected.shape), expected)
