# Stage 2 with an attention block of its own for each pair of tasks, as the original meant it.
_base_ = ['../pssnet_swin-t_fundustasks-512x512.py']
model = dict(generator=dict(decode_head=dict(attention=dict(blocks='per_pair'))))
