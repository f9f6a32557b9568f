# UMTL-S-SSL: pseudo-labels and bridge, no consistency of masks. As that of the published code is
# always 0, this is the published MultiMix by another name.
_base_ = ['../multimix_jsrt-10_chestxraypneumonia-100.py']
model = dict(kl='none')
