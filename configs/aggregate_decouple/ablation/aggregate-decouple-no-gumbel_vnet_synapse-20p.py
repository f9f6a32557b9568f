# The denoiser votes without Gumbel noise.
_base_ = ['../aggregate-decouple_vnet_synapse-20p.py']
model = dict(gumbel=False)
