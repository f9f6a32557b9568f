# The chain of pssnet_chain.py in small on made-up fundus photographs, in minutes without a GPU.
_base_ = ['./pssnet_chain.py']
stages = dict(
    stage1=dict(config='pssnet-stage1-c16_resnet_phantom-fundustasks-96x96.py'),
    stage2=dict(config='pssnet-c16_resnet_phantom-fundustasks-96x96.py'),
)
