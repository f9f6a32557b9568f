# Checkpoints are chosen on the test set, as in the published code: to compare with its figures,
# not for honest ones.
_base_ = ['../aggregate-decouple_vnet_mnms-toA-2p.py']
val_dataloader = dict(dataset=dict(split='test_toA_0.02'))
