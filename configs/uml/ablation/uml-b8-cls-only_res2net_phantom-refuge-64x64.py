# The small UML without any mask: classification alone at the same size and budget.
_base_ = ['../uml-b8_res2net_phantom-refuge-64x64.py']
train_dataloader = dict(dataset=dict(with_seg=False))
