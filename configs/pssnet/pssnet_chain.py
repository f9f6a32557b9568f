# All of PSSNet by tools/run_stages.py: stage 1, its pseudo labels, stage 2, and tests of both, also
# of the optic disc of IDRiD. The published pseudo labels probably come from a stage 1 of 60,000
# iterations. A filter on them, for all five: --cfg-options defaults.label.min_confidence=0.9
defaults = dict(label=dict(threshold=0.5))
stages = dict(
    stage1=dict(type='train', config='pssnet-stage1-60k_swin-t_fundustasks-512x512.py'),
    reta_lesion=dict(type='label', checkpoint='stage1', test_set='reta_train', source='lesion'),
    reta_odoc=dict(type='label', checkpoint='stage1', test_set='reta_train', source='odoc'),
    ddr_vessel=dict(type='label', checkpoint='stage1', test_set='ddr_train', source='vessel'),
    ddr_odoc=dict(type='label', checkpoint='stage1', test_set='ddr_train', source='odoc'),
    refuge_vessel=dict(type='label', checkpoint='stage1', test_set='refuge_train', source='vessel'),
    stage2=dict(
        type='train',
        config='pssnet_swin-t_fundustasks-512x512.py',
        inputs={
            'train_dataloader.dataset.datasets.reta_pseudo.extra_maps.lesion': 'reta_lesion',
            'train_dataloader.dataset.datasets.reta_pseudo.extra_maps.odoc': 'reta_odoc',
            'train_dataloader.dataset.datasets.ddr_pseudo.extra_maps.vessel': 'ddr_vessel',
            'train_dataloader.dataset.datasets.ddr_pseudo.extra_maps.odoc': 'ddr_odoc',
            'train_dataloader.dataset.datasets.refuge_pseudo.extra_maps.vessel': 'refuge_vessel',
        },
    ),
    test_stage1=dict(type='test', checkpoint='stage1'),
    test_stage1_disc=dict(type='test', checkpoint='stage1', test_set='OD'),
    test_stage2=dict(type='test', checkpoint='stage2'),
    test_stage2_disc=dict(type='test', checkpoint='stage2', test_set='OD'),
)
