# Pseudo-labels are made in training mode, but the batch norms do not follow these passes.
_base_ = ['../aggregate-decouple_vnet_synapse-20p.py']
model = dict(update_bn_in_sampling=False)
