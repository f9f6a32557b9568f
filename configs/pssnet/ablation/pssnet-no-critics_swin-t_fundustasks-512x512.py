# Stage 2 without critics: labels, pseudo labels and attention.
_base_ = ['../pssnet_swin-t_fundustasks-512x512.py']
model = dict(critic=None)
optim_wrapper = dict(critics=None, aux_critics=None)
