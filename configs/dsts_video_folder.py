# DSTS on labelled videos of one's own, from scratch, on a CPU. For lists that tools/data/prepare_videos.py made, which also
# writes a config that fits them: tools/train.py configs/dsts_video_folder.py --cfg-options data_root=FOLDER
# model.cls_head.num_classes=CLASSES
_base_ = [
    '_base_/models/slowonly_tiny.py', '_base_/datasets/video_folder.py', '_base_/schedules/toygym.py',
    '_base_/default_runtime.py'
]

model = dict(neck=dict(type='DSTSNeck', in_channels=64, num_layers=2, num_neurons=6), cls_head=dict(num_classes=2))
