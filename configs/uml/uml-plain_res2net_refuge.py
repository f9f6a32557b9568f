# The same network without any of the exact savings: the yardstick of docs/benchmarks.md.
_base_ = ['./uml_res2net_refuge.py']
model = dict(
    memory_format='channels_first',
    backbone=dict(fused=False, recompute=False),
    seg_backbone=dict(fused=False, recompute=False),
    neck=dict(fused=False),
    mutual_head=dict(fused=False, loss_evidential=dict(fused=False)),
    decode_head=dict(fused=False),
    cls_head=dict(fused=False, loss=dict(fused=False)),
)
