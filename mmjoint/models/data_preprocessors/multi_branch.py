from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseDataPreprocessor

from mmjoint.registry import MODELS
from mmjoint.utils.errors import UserError


@MODELS.register_module()
class MultiBranchDataPreprocessor(BaseDataPreprocessor):
    """Sort a batch of several branches and preprocess each branch by an ordinary preprocessor.

    From the data loader, with ``x`` an image and ``s`` its sample::

        inputs: {'labelled': [x0, x1, None], 'unlabelled': [None, None, x2]}
        data_samples: {'labelled': [s0, s1, None], 'unlabelled': [None, None, s2]}

    To the model::

        inputs: {'labelled': tensor of x0 and x1, 'unlabelled': tensor of x2}
        data_samples: {'labelled': [s0, s1], 'unlabelled': [s2]}

    A branch of which a batch has no sample is left out: a config may leave out the source of it,
    and models name those branches that they need and do not get. A batch without branches, as in
    validation, goes to the ordinary preprocessor as it is.

    Args:
        data_preprocessor: Config of the ordinary preprocessor, or a built one.
    """

    def __init__(self, data_preprocessor: dict | BaseDataPreprocessor) -> None:
        super().__init__()
        if isinstance(data_preprocessor, Mapping):
            data_preprocessor = MODELS.build(data_preprocessor)
        self.data_preprocessor = data_preprocessor

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Preprocess a batch as the data loader gives it.

        Args:
            data: ``inputs`` and ``data_samples`` as above, or without branches.
            training: Whether the batch is for training.

        Returns:
            ``inputs`` and ``data_samples`` as above.

        Raises:
            UserError: No branch has a sample in the batch.
        """
        inputs, samples = data['inputs'], data.get('data_samples')
        if not isinstance(inputs, Mapping):
            return self.data_preprocessor(data, training)
        batches = {}
        for branch, images in inputs.items():
            kept = [index for index, image in enumerate(images) if image is not None]
            if not kept:
                continue
            batch = dict(inputs=[images[index] for index in kept], data_samples=None)
            if samples is not None:
                batch['data_samples'] = [samples[branch][index] for index in kept]
            batches[branch] = self.data_preprocessor(batch, training)
        if not batches:
            raise UserError(
                f'train_dataloader: expected samples of the branches {list(inputs)} in every '
                'batch, found none; draw batches by MultiSourceSampler'
            )
        return {
            key: {branch: batch[key] for branch, batch in batches.items()}
            for key in ('inputs', 'data_samples')
        }

    def cast_data(self, data: Any) -> Any:
        """Copy data to the device, as the ordinary preprocessor does it."""
        return self.data_preprocessor.cast_data(data)
