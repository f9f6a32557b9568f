# Pseudo-labels are made without dropout and by the running statistics of the batch norms.
_base_ = ['../aggregate-decouple_vnet_synapse-20p.py']
model = dict(pseudo_mode='eval')
