# A small UML on small images, for machines without a GPU: an eighth of the width, 64x64.
# It trains on made-up images, which tools/quickstart.sh makes.
_base_ = ['./uml_res2net_refuge.py']
data_root = 'data/phantoms/refuge_64x64/'
train_dataloader = dict(batch_size=8, dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(
    batch_size=8, num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root)
)
model = dict(
    backbone=dict(base_channels=8, recompute=False),
    seg_backbone=dict(base_channels=8, recompute=False),
    neck=dict(
        cls_channels=(8, 32, 64, 128),
        seg_channels=(8, 32, 64, 128),
        out_channels=(8, 32, 64, 128),
        branch_channels=32,
    ),
    mutual_head=dict(in_channels=(8, 32, 64, 128)),
    decode_head=dict(in_channels=(8, 32, 64, 128)),
    cls_head=dict(in_channels=128, guide_channels=8, hidden_channels=128),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='PolyAfterLR', change_epoch=18, power=0.9, min_lr=1e-5, by_epoch=False)
]
train_cfg = dict(max_epochs=36, val_interval=12)
default_hooks = dict(checkpoint=dict(interval=12))
