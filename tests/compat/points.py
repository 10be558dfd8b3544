import torch
from torch.utils.data import Dataset


class Points(Dataset):
    metainfo = dict(classes=('a', 'b'))

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.full((2,), float(index)), index % 2
