# Gym288 of FineGym, lists v1.1 (in v1.0 one class has no clip at all); the rest as Gym99.
_base_ = 'finegym99.py'

data_root = 'data/finegym/'
categories_file = data_root + 'annotations/gym288_categories.txt'
ann_file_train = data_root + 'annotations/gym288_train_element_v1.1.txt'
ann_file_val = data_root + 'annotations/gym288_val_element.txt'

train_dataloader = dict(dataset=dict(ann_file=ann_file_train, categories_file=categories_file))
val_dataloader = dict(dataset=dict(ann_file=ann_file_val, categories_file=categories_file))
test_dataloader = dict(dataset=dict(ann_file=ann_file_val, categories_file=categories_file))
