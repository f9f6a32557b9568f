# Stage 2 whose losses leave out the pixels that tell nothing (255), in place of taking them for
# background: corners of rotated images, cut-out rectangles, unsure pseudo labels.
_base_ = ['../pssnet_swin-t_fundustasks-512x512.py']
model = dict(loss=dict(ignore_unlabelled=True))
