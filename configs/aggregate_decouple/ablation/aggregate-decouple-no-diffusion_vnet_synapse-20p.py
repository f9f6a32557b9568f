# The third decoder sees the image alone; its logits take the place of the sampled mask.
_base_ = ['../aggregate-decouple_vnet_synapse-20p.py']
model = dict(backbone=dict(time_channels=None), denoising_stem=None, diffusion=None)
