# MultiMix without any saving in the model or in the loading of images: the yardstick of
# docs/benchmarks.md. Run with PYTHONPATH=. from the root of the repository.
_base_ = ['../../configs/multimix/multimix_jsrt-10_chestxraypneumonia-100.py']
custom_imports = dict(imports=['tests.yardsticks.multimix'])
model = dict(type='PlainMultiMix')
train_dataloader = dict(
    dataset=dict(
        datasets=dict(
            seg_labelled=dict(cache=False),
            seg_unlabelled=dict(cache=False),
            cls_labelled=dict(cache=False),
            cls_unlabelled=dict(cache=False),
        )
    )
)
