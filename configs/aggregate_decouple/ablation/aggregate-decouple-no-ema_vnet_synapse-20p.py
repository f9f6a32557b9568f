# The decoder that predicts is not pulled towards the two that teach it.
_base_ = ['../aggregate-decouple_vnet_synapse-20p.py']
custom_hooks = [dict(type='PseudoLabelHealthHook')]
