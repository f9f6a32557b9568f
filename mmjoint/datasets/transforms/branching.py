from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

from mmcv.transforms import BaseTransform

from mmjoint.registry import TRANSFORMS


@TRANSFORMS.register_module()
class MultiBranch(BaseTransform):
    """Send a sample down some of the branches of a model; the last transform of a pipeline.

    Each pipeline gets a copy of the sample and ends with ``PackJointInputs``. All sources of a
    batch name the same ``branches``, in the same order; each has pipelines for those that its
    samples go to. A teacher's weak and a student's strong view are two branches.

    Required Keys:

    - what the pipelines need

    The result has the keys:

    - inputs (dict[str, Tensor | None]): per branch the packed image, None where there is no
      pipeline
    - data_samples (dict[str, JointDataSample | None]): likewise

    Args:
        branches: Names of all branches of the model, e.g. ('labelled', 'unlabelled').
        pipelines: Branch -> transforms, as configs or built.

    Raises:
        ValueError: A pipeline's branch is not among ``branches``, or there is no pipeline.
    """

    def __init__(
        self,
        branches: Sequence[str],
        pipelines: Mapping[str, Sequence[dict | Callable]],
    ) -> None:
        unknown = sorted(set(pipelines) - set(branches))
        if unknown or not pipelines or isinstance(branches, str):
            raise ValueError(
                f'MultiBranch: pipelines must have keys out of branches {branches!r}, '
                f'got {sorted(pipelines)}'
            )
        self.branches = tuple(branches)
        self.pipelines = {
            name: [
                TRANSFORMS.build(item) if isinstance(item, Mapping) else item
                for item in pipelines[name]
            ]
            for name in branches
            if name in pipelines
        }

    def transform(self, results: dict) -> dict | None:
        """Run the pipelines, in the order of ``branches``."""
        inputs, samples = dict.fromkeys(self.branches), dict.fromkeys(self.branches)
        last = list(self.pipelines)[-1]
        for name, pipeline in self.pipelines.items():
            packed = results if name == last else deepcopy(results)
            for transform in pipeline:
                packed = transform(packed)
                if packed is None:
                    return None
            inputs[name], samples[name] = packed['inputs'], packed['data_samples']
        return dict(inputs=inputs, data_samples=samples)

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}(branches={self.branches}, pipelines={self.pipelines})'
