# The second stage of PSSNet: attention between the maps of the tasks, critics of the tasks that a
# data set does not label, and pseudo labels for them.
_base_ = './pssnet_swin-t.py'
model = dict(
    type='PSSNet',
    generator=dict(
        decode_head=dict(
            attention=dict(type='CrossTaskAttention', num_heads=4, window_size=16),
        )
    ),
    pseudo_weights=dict(
        reta_pseudo=dict(lesion=0.1, odoc=0.05),
        ddr_pseudo=dict(vessel=0.05, odoc=0.05),
        refuge_pseudo=dict(vessel=0.05),
    ),
    critic=dict(type='ConvCritic', channels=(64, 128, 256, 512)),
    adversarial_weight=0.1,
    aux_adversarial_weight=0.02,
)
