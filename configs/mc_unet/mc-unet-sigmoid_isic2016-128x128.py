# The MC-dropout U-Net with one output channel: binary cross-entropy and Dice of the lesion.
_base_ = ['./mc-unet_isic2016-128x128.py']
model = dict(decode_head=dict(single_logit=True, loss_dice=dict(scheme='foreground')))
