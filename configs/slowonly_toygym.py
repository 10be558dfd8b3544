# The backbone of dsts_toygym.py alone, without a neck: what DSTS is compared with.
_base_ = [
    '_base_/models/slowonly_tiny.py', '_base_/datasets/toygym.py', '_base_/schedules/toygym.py', '_base_/default_runtime.py'
]
