# The same layers with one neuron each: every sample takes the same way, nothing is specialized. What DSTS is compared with.
_base_ = 'dsts_toygym_noudl.py'

model = dict(neck=dict(num_neurons=1))
