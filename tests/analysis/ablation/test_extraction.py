import copy
import shutil

import pytest
import torch
from mmaction.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from mmdsts.analysis.ablation import extract_features, extraction
from mmdsts.cli import UsageError
from tests.tools.tiny_run import write


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """Config of eight clips, and a checkpoint."""
    config = write(tmp_path_factory.mktemp('run') / 'tiny')
    cfg = Config.fromfile(config)
    checkpoint = str(config.parent / 'start.pth')
    init_default_scope('mmaction')
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), checkpoint)
    return cfg, checkpoint


@pytest.fixture
def cfg(tiny, monkeypatch):
    monkeypatch.setattr(extraction, '_PART', 6)
    cfg = copy.deepcopy(tiny[0])
    cfg.val_dataloader.dataset.pipeline[1].test_mode = True
    return cfg


@pytest.fixture
def decoded(monkeypatch):
    """Number of batches that went through the backbone."""
    count, run = [], extraction._features_of
    monkeypatch.setattr(extraction, '_features_of', lambda model, batch: count.append(1) or run(model, batch))
    return count


def test_features_are_those_of_the_checkpoints_backbone(cfg, tiny, tmp_path):
    progress = []
    found = extract_features(cfg, tiny[1], 'train', cache_dir=tmp_path, on_progress=lambda *x: progress.append(x))
    model = MODELS.build(cfg.model)
    model.load_state_dict(torch.load(tiny[1])['state_dict'])
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    batch = model.data_preprocessor(pseudo_collate([dataset[i] for i in range(8)]), False)
    with torch.no_grad():
        expected = model.eval().backbone(batch['inputs'][:, 0])
    assert torch.allclose(found.features, expected, atol=1e-5)
    assert found.labels.tolist() == [0, 1] * 4
    assert found.groups is None
    assert progress == [(6, 8), (8, 8)]


def test_an_interrupted_extraction_goes_on_and_a_complete_one_is_kept(cfg, tiny, tmp_path, decoded):
    def interrupt(done, total):
        raise KeyboardInterrupt

    whole = extract_features(cfg, tiny[1], 'val', cache_dir=tmp_path / 'whole')
    assert len(decoded) == 8
    with pytest.raises(KeyboardInterrupt):
        extract_features(cfg, tiny[1], 'val', cache_dir=tmp_path / 'parts', on_progress=interrupt)
    decoded.clear()
    resumed = extract_features(cfg, tiny[1], 'val', cache_dir=tmp_path / 'parts')
    assert len(decoded) == 2
    assert torch.equal(resumed.features, whole.features)
    assert torch.equal(extract_features(cfg, tiny[1], 'val', cache_dir=tmp_path / 'parts').features, whole.features)
    assert len(decoded) == 2
    assert [path.name for path in (tmp_path / 'parts').rglob('*.pt')] == ['features.pt']


def test_another_checkpoint_another_pipeline_or_other_videos_are_another_set(cfg, tiny, tmp_path, decoded):
    def extract(checkpoint=tiny[1]):
        decoded.clear()
        return extract_features(cfg, checkpoint, 'val', cache_dir=tmp_path)

    first = extract()
    state = torch.load(tiny[1])['state_dict']
    state['backbone.conv1.conv.weight'] *= 2
    torch.save(dict(state_dict=state), tmp_path / 'other.pth')
    extract(str(tmp_path / 'other.pth'))
    assert len(decoded) == 8
    extract()
    assert len(decoded) == 0
    cfg.val_dataloader.dataset.pipeline[1].frame_interval = 2
    assert not torch.equal(extract().features, first.features)
    cfg.val_dataloader.dataset.pipeline[1].frame_interval = 1
    videos = tmp_path / 'data' / 'videos'
    shutil.copytree(cfg.val_dataloader.dataset.data_root + '/videos', videos)
    shutil.copy(cfg.val_dataloader.dataset.data_root + '/list.txt', tmp_path / 'data')
    cfg.val_dataloader.dataset.data_root = str(tmp_path / 'data')
    assert torch.equal(extract().features, first.features)
    shutil.copy(videos / '1.mp4', videos / '0.mp4')
    assert not torch.equal(extract().features[0], first.features[0])


def test_augmented_passes_differ_and_are_reproducible(cfg, tiny, tmp_path):
    torch.manual_seed(3)
    found = [
        extract_features(cfg, tiny[1], 'train', augmented_passes=3, cache_dir=tmp_path / name, seed=seed)
        for name, seed in (('a', 0), ('b', 0), ('c', 1))
    ]
    assert found[0].features.shape[0] == 24
    assert found[0].labels.tolist() == [0, 1] * 12
    assert torch.equal(found[0].features, found[1].features)
    assert not torch.equal(found[0].features, found[2].features)
    first, second, _ = found[0].features.split(8)
    assert not torch.equal(first, second)


def test_groups_are_the_sets_of_the_classes(cfg, tiny, tmp_path):
    cfg.val_dataloader.dataset.metainfo = dict(class_sets=[4, 7])
    assert extract_features(cfg, tiny[1], 'val', cache_dir=tmp_path).groups.tolist() == [4, 7] * 4


def test_several_views_of_a_clip_are_refused(cfg, tiny, tmp_path):
    cfg.val_dataloader.dataset.pipeline[1].num_clips = 2
    with pytest.raises(UsageError, match=r'the pipeline gives 2 views of a clip; .*num_clips=1'):
        extract_features(cfg, tiny[1], 'val', cache_dir=tmp_path)


def test_a_checkpoint_of_another_backbone_is_refused(cfg, tiny, tmp_path):
    cfg.model.backbone.base_channels = 8
    with pytest.raises(
        UsageError,
        match=r'backbone in .*start\.pth does not fit .* of another shape are',
    ):
        extract_features(cfg, tiny[1], 'val', cache_dir=tmp_path)
    torch.save(dict(state_dict={'neck.x': torch.zeros(1)}), tmp_path / 'neck.pth')
    with pytest.raises(UsageError, match=r'neck\.pth has no entries backbone\.\*'):
        extract_features(cfg, str(tmp_path / 'neck.pth'), 'val', cache_dir=tmp_path)
    (tmp_path / 'text.pth').write_text('no checkpoint')
    with pytest.raises(UsageError, match=r'text\.pth cannot be read: '):
        extract_features(cfg, str(tmp_path / 'text.pth'), 'val', cache_dir=tmp_path)
    with pytest.raises(ValueError, match=r"split must be one of .* got 'valid'"):
        extract_features(cfg, tiny[1], 'valid', cache_dir=tmp_path)
    cfg.test_dataloader = None
    with pytest.raises(UsageError, match=r"frozen features of 'test' need test_dataloader"):
        extract_features(cfg, tiny[1], 'test', cache_dir=tmp_path)


def test_other_windows_of_the_same_videos_are_another_set():
    class Dataset(list):
        metainfo = {}

        def get_data_info(self, index):
            return self[index]

    def describe(**window):
        dataset = Dataset([dict(filename='video.mkv', label=3, **window)])
        return extraction.fingerprint(extraction.describe_data({}, dataset))

    assert len({describe(), describe(start=1.0, end=2.0), describe(start=1.0, end=2.5)}) == 3
