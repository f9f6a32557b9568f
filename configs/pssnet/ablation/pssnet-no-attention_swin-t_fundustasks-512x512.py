# Stage 2 without attention between the tasks: labels, pseudo labels and critics.
_base_ = ['../pssnet_swin-t_fundustasks-512x512.py']
model = dict(generator=dict(decode_head=dict(attention=None)))
