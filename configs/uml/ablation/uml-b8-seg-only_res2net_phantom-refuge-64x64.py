# The small UML without any class label: segmentation alone at the same size and budget.
_base_ = ['../uml-b8_res2net_phantom-refuge-64x64.py']
train_dataloader = dict(dataset=dict(with_cls=False))
