# UML on REFUGE, tested on noisy images; the level is described in the second base.
_base_ = ['../uml_res2net_refuge.py', '../../_base_/noise/salt-pepper-upstream.py']
test_dataloader = dict(dataset=dict(pipeline=_base_.noisy_test_pipeline))
