# The MC-dropout U-Net that enlarges bilinearly in place of by transposed convolutions.
_base_ = ['./mc-unet_isic2016-128x128.py']
model = dict(backbone=dict(bilinear=True))
