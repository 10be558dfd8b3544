"""One optimizer with upstream and downstream groups, around MMAction2's constructors."""

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmdsts.engine import split_parameters
from mmdsts.engine.constructor import GROUP

from .literal_udl import is_upstream
from .toy_recognizer import build_recognizer, recognizer_config


def groups_of(model, constructor='DefaultOptimWrapperConstructor', paramwise_cfg=None, udl=None, **optimizer):
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='UDLOptimWrapper',
            constructor='UDLOptimWrapperConstructor',
            base_constructor=constructor,
            paramwise_cfg=paramwise_cfg,
            udl=udl,
            optimizer={**dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.01), **optimizer},
        ),
    )
    names = {id(p): n for n, p in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    return {names[id(p)]: group for group in groups for p in group['params']}, wrapper


def check_split(model, of):
    assert set(of) == {n for n, p in model.named_parameters() if p.requires_grad}
    assert all(group[GROUP] == ('upstream' if is_upstream(n) else 'downstream') for n, group in of.items())


def test_split_by_declaration():
    model = build_recognizer()
    upstream, downstream = split_parameters(model)
    assert set(upstream) == {n for n, _ in model.named_parameters() if is_upstream(n)}
    assert set(upstream) | set(downstream) == {n for n, _ in model.named_parameters()}
    assert not set(upstream) & set(downstream)


def test_any_module_can_declare():
    class Router(nn.Linear):
        upstream_parameter_names = ('weight',)

    model = nn.Sequential(Router(2, 2), nn.Linear(2, 2))
    model[1].weight.requires_grad_(False)
    upstream, downstream = split_parameters(model)
    assert list(upstream) == ['0.weight']
    assert list(downstream) == ['0.bias', '1.bias']


def test_without_upstream_parameters_is_an_error():
    with pytest.raises(ValueError, match='has no trainable upstream parameters.*DSTSNeck'):
        groups_of(nn.Linear(2, 2))


def test_wrong_declaration_is_an_error():
    class Router(nn.Linear):
        upstream_parameter_names = ('score',)

    with pytest.raises(ValueError, match=r"Router at '0' declares 'score'.*\['bias', 'weight'\]"):
        split_parameters(nn.Sequential(Router(2, 2)))


def test_default_constructor():
    model = build_recognizer()
    of, wrapper = groups_of(model)
    check_split(model, of)
    assert len(wrapper.optimizer.param_groups) == 2
    assert wrapper.optimizer.param_groups[0][GROUP] == 'downstream', 'MMEngine logs the first group as lr'
    assert {group['lr'] for group in of.values()} == {0.1}


def test_upstream_settings():
    model = build_recognizer()
    of, wrapper = groups_of(model, udl=dict(upstream_lr=0.7, upstream_weight_decay=0.0))
    assert all(group['lr'] == (0.7 if is_upstream(n) else 0.1) for n, group in of.items())
    assert all(group['weight_decay'] == (0.0 if is_upstream(n) else 0.01) for n, group in of.items())
    assert wrapper.get_lr() == dict(base_lr=[0.1], lr=[0.1, 0.7], upstream_lr=[0.7])


def test_paramwise_options_reach_both_kinds():
    model = build_recognizer()
    of, _ = groups_of(model, paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys={'neck': dict(lr_mult=0.5)}))
    check_split(model, of)
    assert all(group['lr'] == pytest.approx(0.05 if n.startswith('neck') else 0.1) for n, group in of.items())
    assert of['backbone.norm.weight']['weight_decay'] == 0


def test_tsm_constructor():
    """It refuses modules with parameters of their own, such as neurons."""
    model = build_recognizer()
    of, _ = groups_of(model, 'TSMOptimWrapperConstructor', dict(fc_lr5=True))
    check_split(model, of)
    assert of['cls_head.fc_cls.weight']['lr'] == pytest.approx(0.5)
    assert of['cls_head.fc_cls.bias']['lr'] == pytest.approx(1.0)
    assert of['backbone.last.bias']['lr'] == pytest.approx(0.2)
    assert of['neck.layers.0.neurons.0.spatial']['lr'] == pytest.approx(0.1)
    assert of['neck.layers.0.spatial_norm.weight']['weight_decay'] == 0
    assert of['neck.layers.0.neurons.0.spatial']['weight_decay'] == 0.01
    assert [name for name, _ in model.named_children()] == ['data_preprocessor', 'backbone', 'neck', 'cls_head']


def test_swin_constructor():
    model = build_recognizer()
    of, _ = groups_of(model, 'SwinOptimWrapperConstructor', dict(norm=dict(decay_mult=0.0), backbone=dict(lr_mult=0.1)))
    check_split(model, of)
    assert of['backbone.conv.weight']['lr'] == pytest.approx(0.01)
    assert of['neck.layers.0.neurons.1.score']['lr'] == pytest.approx(0.1)
    assert of['neck.layers.0.spatial_norm.weight']['weight_decay'] == 0


def test_layer_decay_constructor():
    """It refuses batch norm, which the neck has."""
    config = recognizer_config()
    config['backbone'] = dict(
        type='MViT',
        arch=dict(embed_dims=6, num_layers=2, num_heads=1, downscale_indices=[]),
        spatial_size=32,
        temporal_size=4,
        out_scales=[1],
    )
    model = MODELS.build(config)
    of, _ = groups_of(
        model, 'LearningRateDecayOptimizerConstructor', dict(num_layers=2, decay_rate=0.5, decay_type='layer_wise')
    )
    check_split(model, of)
    assert of['backbone.patch_embed.projection.weight']['lr'] == pytest.approx(0.1 * 0.5**3)
    assert of['neck.layers.0.neurons.0.spatial']['lr'] == pytest.approx(0.1)
    names = of['backbone.blocks.0.attn.qkv.weight']['param_names']
    assert len(names) == len(of['backbone.blocks.0.attn.qkv.weight']['params'])


def test_frozen_parameters_are_left_out():
    model = build_recognizer()
    model.backbone.requires_grad_(False)
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='UDLOptimWrapper',
            constructor='UDLOptimWrapperConstructor',
            udl=dict(scope='full'),
            optimizer=dict(type='SGD', lr=0.1),
        ),
    )
    wrapper.bind(model)
    assert not [n for n in wrapper._inner_downstream if n.startswith('backbone')]


def test_errors_of_the_base_constructor_stay_theirs():
    with pytest.raises(KeyError):
        groups_of(build_recognizer(), 'NoSuchConstructor')
    with pytest.raises(ValueError, match='base_wd'):
        groups_of(build_recognizer(), paramwise_cfg=dict(norm_decay_mult=0.0), weight_decay=None)


def test_optimizer_of_another_model_is_an_error():
    _, wrapper = groups_of(build_recognizer())
    with pytest.raises(ValueError, match="upstream parameter 'neck.layers.0.neurons.0.score'"):
        wrapper.bind(build_recognizer())


def test_unsplit_optimizer_is_an_error():
    from mmdsts.engine import UDLOptimWrapper

    optimizer = torch.optim.SGD(build_recognizer().parameters(), lr=0.1)
    with pytest.raises(ValueError, match="constructor='UDLOptimWrapperConstructor'"):
        UDLOptimWrapper(optimizer)


@pytest.mark.parametrize(
    ('udl', 'message'),
    [
        (dict(scoope='neck'), r"unknown keys \['scoope'\]"),
        (dict(scope='head'), "udl.scope is 'head'"),
        (dict(method='darts'), "udl.method is 'darts'"),
        (dict(non_finite='ignore'), "udl.non_finite is 'ignore'"),
        (dict(inner_lr=-1), 'udl.inner_lr is -1'),
        (dict(fd_epsilon=0), 'udl.fd_epsilon is 0'),
        (dict(backbone=None), "set scope='full'"),
    ],
)
def test_options_are_checked(udl, message):
    with pytest.raises(ValueError, match=message):
        groups_of(build_recognizer(), udl=udl)


def test_scope_neck_needs_a_backbone():
    _, wrapper = groups_of(model := build_recognizer(), udl=dict(backbone='trunk'))
    with pytest.raises(ValueError, match="leaves 'trunk' out, but Recognizer3D has only"):
        wrapper.bind(model)


def test_scope_neck_refuses_upstream_parameters_in_the_backbone():
    model = build_recognizer()
    model.backbone.conv.upstream_parameter_names = ('weight',)
    _, wrapper = groups_of(model)
    with pytest.raises(ValueError, match=r"parameters are in it: \['backbone.conv.weight'\]; set scope='full'"):
        wrapper.bind(model)
