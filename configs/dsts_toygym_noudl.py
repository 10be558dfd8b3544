# DSTS on ToyGym, trained by the plain update: a CPU and minutes. What dsts_toygym.py adds is UDL.
_base_ = [
    '_base_/models/slowonly_tiny.py', '_base_/datasets/toygym.py', '_base_/schedules/toygym.py', '_base_/default_runtime.py'
]

model = dict(neck=dict(type='DSTSNeck', in_channels=64, num_layers=2, num_neurons=6))
