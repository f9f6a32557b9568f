# UMTL-SSL: both tasks and pseudo-labels, no bridge, no consistency of masks.
_base_ = ['../multimix_jsrt-10_chestxraypneumonia-100.py']
model = dict(bridge=None, decode_head=dict(in_channels=(16, 32, 64, 128, 256)), kl='none')
