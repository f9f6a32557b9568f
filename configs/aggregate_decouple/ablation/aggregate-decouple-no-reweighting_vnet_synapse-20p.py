# All classes weigh the same in the supervised decoder.
_base_ = ['../aggregate-decouple_vnet_synapse-20p.py']
model = dict(difficulty=None)
