# Sampling takes the denoiser's probabilities in place of its clipped logits, which tie.
_base_ = ['../aggregate-decouple_vnet_synapse-20p.py']
model = dict(sampled_x0='softmax')
