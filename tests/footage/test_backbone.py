from __future__ import annotations

import pytest
import torch
from mmengine.config import Config

from mmdsts.errors import UsageError
from mmdsts.footage import backbone as module
from mmdsts.footage.backbone import Backbone, DryRun, backbone_names, batch_size, dry_run, find_backbone

TINY = find_backbone('slowonly_tiny')


def small(name, channels=512, **options):
    """A 2D model of MMAction2 or ours with a ResNet-18."""
    found = find_backbone(name)
    found.model['backbone'].update(depth=18, **options)
    found.model['cls_head'].update(in_channels=channels)
    return found


def test_models_are_found_by_name_address_and_path(tmp_path):
    assert {'slowonly_tiny', 'slowonly_r50', 'i3d_r50', 'x3d'} <= set(backbone_names())
    assert TINY.is_small and not TINY.is_2d
    assert Config.fromfile(TINY.base).model.cls_head.num_classes == 24
    assert find_backbone('x3d').base == 'mmaction::_base_/models/x3d.py'
    assert find_backbone('mmaction::_base_/models/x3d.py').model == find_backbone('x3d').model
    own = tmp_path / 'own.py'
    own.write_text(open(TINY.base).read())
    assert find_backbone(str(own)).base == str(own)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('resnet9000', 'no such file, and none of .*slowonly_tiny'),
        ('bmn_400x100', 'its model is a BMN, expected a Recognizer2D or Recognizer3D'),
        ('tpn_tsm_r50', 'it has a neck of its own, TPN'),
        ('{folder}/full.py', 'expected a file with a model alone'),
        ('{folder}/wrong.py', 'SyntaxError|ConfigParsingError|invalid syntax|There are syntax errors'),
    ],
)
def test_what_is_no_backbone_is_refused(tmp_path, name, message):
    (tmp_path / 'full.py').write_text("model = dict(type='Recognizer3D')\ntrain_dataloader = dict()")
    (tmp_path / 'wrong.py').write_text('model = dict(')
    with pytest.raises(UsageError, match=message):
        find_backbone(name.format(folder=tmp_path))


def test_a_dry_run_finds_channels_and_memory():
    run = dry_run(TINY, 'dsts', 5, 8, (48, 32))
    assert run.feature == (64, 8, 2, 3)
    assert run.model == dict(
        cls_head=dict(num_classes=5), neck=dict(type='DSTSNeck', in_channels=64, num_layers=2, num_neurons=6)
    )
    double = dry_run(TINY, 'dsts', 5, 16, (48, 32))
    assert 1.7 < double.clip_bytes / run.clip_bytes < 2.2
    alone = dry_run(TINY, 'backbone', 5, 8, (48, 32))
    assert 'neck' not in alone.model
    assert alone.parameters < run.parameters and alone.clip_bytes < run.clip_bytes


def test_what_is_kept_for_the_backward_pass_is_counted():
    """A convolution keeps its input, a ReLU its output."""
    net = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 1), torch.nn.ReLU())
    net.parse_losses = lambda losses: (sum(loss.sum() for loss in losses.values()), None)
    net.forward = lambda inputs, mode: dict(loss=net[1](net[0](inputs)))
    x = torch.rand(2, 3, 4, 8, 8)
    assert module._kept_bytes(net, dict(inputs=x)) == x.nbytes + x.nbytes // 3 * 4


def test_segments_of_2d_networks_and_stages_of_two_pathways():
    run = dry_run(small('tsm_r50'), 'dsts', 3, 4, (32, 32))
    assert run.model['type'] == 'DSTSRecognizer2D'
    assert run.model['backbone'] == dict(num_segments=4)
    assert run.model['cls_head'] == dict(num_segments=4, num_classes=3)
    assert run.model['neck']['in_channels'] == 512
    first_stage = dict(num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,))
    assert dry_run(small('tsn_r50', 64, **first_stage), 'dsts', 3, 4, (32, 32)).model['num_segments'] == 4


def test_the_feature_that_is_told_of_is_a_map():
    """Of SlowFast that of the slow pathway, of MViT not the class token, of several stages the last."""
    slow = torch.rand(1, 64, 2, 4, 4)
    for feature in (slow, (slow, torch.rand(1, 8, 16, 4, 4)), [[slow, torch.rand(1, 64)]], [slow[:, :32], slow]):
        assert module._shape(feature) == (64, 2, 4, 4)


def test_a_neck_is_what_attach_would_choose():
    """A class token is led around it, pooled features are not taken, and wide features get a narrow neck."""
    mvit = module._attachment(find_backbone('mvit_small'), {}, 16, (224, 224))['neck']
    assert mvit['class_token'] == 'add' and mvit['keep_stages']
    with pytest.raises(UsageError, match=r'pooled time and space itself.*tools/attach\.py --pooled'):
        module._attachment(find_backbone('c3d_sports1m_pretrained'), {}, 16, (112, 112))
    wide, alone = (dry_run(find_backbone('slowonly_r50'), method, 3, 4, (32, 32)) for method in ('dsts', 'backbone'))
    assert wide.model['neck']['in_channels'] == 2048
    assert 0.2 < 1 - alone.parameters / wide.parameters < 0.25


@pytest.mark.parametrize(
    ('name', 'parts'),
    [('tsm_mobilenet_v2', 'backbone cls_head'), ('tanet_r50', 'backbone cls_head'), ('trn_r50', 'cls_head')],
)
def test_models_of_mmaction2_that_leave_defaults_unsaid(name, parts):
    """No format_shape, or no num_segments in the file: the class's own holds."""
    found = find_backbone(name)
    assert found.is_2d
    changes = dry_run(found, 'backbone', 3, 4, (32, 32)).model
    assert [
        part for part in ('backbone', 'cls_head') if changes.get(part, {}).get('num_segments') == 4
    ] == parts.split()


def test_clips_that_a_network_does_not_take_are_refused():
    wrong = Backbone('wrong', '', {**TINY.model, 'cls_head': {**TINY.model['cls_head'], 'in_channels': 3}}, False)
    with pytest.raises(UsageError, match='wrong does not take clips of 8 frames of 48 x 32 pixels: .*--method'):
        dry_run(wrong, 'dsts', 5, 8, (48, 32))


@pytest.mark.parametrize(
    ('gigabytes', 'clips', 'udl', 'expected'),
    [(80, 10000, False, 32), (4, 10000, False, 8), (4, 10000, True, 4), (0.5, 10000, False, 1), (80, 100, False, 8),
     (80, 5, False, 2)],
)  # fmt: skip
def test_a_batch_fits_into_the_memory_and_leaves_steps_for_an_epoch(gigabytes, clips, udl, expected):
    run = DryRun({}, (), 10**7, 200 * 2**20)
    size = batch_size(run, int(gigabytes * 2**30), clips, udl)
    assert size == expected
    if size > 1:
        assert 16e7 + 1.5 * size * run.clip_bytes <= gigabytes * 2**30
