# Stage 1 of PSSNet without any saving in the model: the yardstick of docs/benchmarks.md. Run with
# PYTHONPATH=. from the root of the repository.
_base_ = ['../../configs/pssnet/pssnet-stage1_swin-t_fundustasks-512x512.py']
custom_imports = dict(imports=['tests.yardsticks.pssnet'])
model = dict(type='PlainMultiTaskModel')
