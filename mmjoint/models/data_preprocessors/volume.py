from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmjoint.registry import MODELS
from mmjoint.structures import SampleList

from .checks import check_finite_values, check_same_shape


@MODELS.register_module()
class VolumeDataPreprocessor(BaseDataPreprocessor):
    """Bring a batch of volumes (or of images) to the device, to float32 and to one size.

    In training, inputs of different sizes are padded at the end of each space axis to the largest
    of the batch and to a multiple of ``size_divisor``, with ignored voxels in the label map.
    Outside training they must agree and are not padded: sliding windows pad for themselves.

    Args:
        mean: Mean of all channels (one value) or of each.
        std: Standard deviation, likewise; both or none.
        size_divisor: All space axes become multiples of it in training.
        pad_val: Value of padded voxels, after normalisation.
        seg_pad_val: Value of padded voxels in the label map.
        check_finite: Refuse NaN and infinity. Looked for in float inputs only.
        non_blocking: Copy to the device without waiting.

    Raises:
        ValueError: ``mean`` and ``std`` do not fit together, or ``size_divisor`` is below 1.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        size_divisor: int = 1,
        pad_val: float = 0,
        seg_pad_val: int = 255,
        check_finite: bool = True,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(non_blocking)
        if (mean is None) != (std is None) or (mean and len(mean) != len(std)):
            raise ValueError(f'mean and std must have the same length, got {mean} and {std}')
        if std is not None and min(std) <= 0:
            raise ValueError(f'std must be > 0, got {std}')
        if size_divisor < 1:
            raise ValueError(f'size_divisor must be >= 1, got {size_divisor}')
        for name, values in (('mean', mean), ('std', std)):
            tensor = None if values is None else torch.tensor(values, dtype=torch.float32)
            self.register_buffer(name, tensor, persistent=False)
        self.size_divisor = size_divisor
        self.pad_val = pad_val
        self.seg_pad_val = seg_pad_val
        self.check_finite = check_finite

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Preprocess a batch as the data loader gives it.

        Args:
            data: ``inputs``, a list of ``(C, *space)`` or a tensor ``(B, C, *space)``, and
                ``data_samples``, a list of :class:`JointDataSample` or ``None``.
            training: Whether the batch is for training.

        Returns:
            ``inputs`` float32 ``(B, C, *space)`` and ``data_samples`` on the device.

        Raises:
            UserError: Sizes differ outside training, the numbers of channels or axes differ, or a
                value is not finite.
        """
        check_same_shape(data['inputs'], data.get('data_samples'), training)
        if self.check_finite:
            check_finite_values(data['inputs'], data.get('data_samples'))
        data = self.cast_data(data)
        inputs, samples = data['inputs'], data.get('data_samples')
        inputs = [self._normalised(image) for image in inputs]
        if training:
            inputs = self._padded(inputs, samples)
        return dict(inputs=torch.stack(inputs), data_samples=samples)

    def _normalised(self, image: Tensor) -> Tensor:
        image = image.float()
        if self.mean is None:
            return image
        shape = (-1,) + (1,) * (image.ndim - 1)
        return (image - self.mean.view(shape)) / self.std.view(shape)

    def _padded(self, inputs: list[Tensor], samples: SampleList | None) -> list[Tensor]:
        shapes = torch.tensor([image.shape[1:] for image in inputs])
        divisor = self.size_divisor
        size = ((shapes.amax(0) + divisor - 1) // divisor * divisor).tolist()
        padded = []
        for index, image in enumerate(inputs):
            missing = [after - n for n, after in zip(image.shape[1:], size, strict=True)]
            # F.pad counts from the last axis.
            widths = [width for after in reversed(missing) for width in (0, after)]
            if any(widths):
                image = F.pad(image, widths, value=self.pad_val)
                if samples is not None and 'gt_sem_seg' in samples[index]:
                    seg_map = samples[index].gt_sem_seg
                    data = F.pad(seg_map.data, widths, value=self.seg_pad_val)
                    samples[index].gt_sem_seg = type(seg_map)(data=data)
            if samples is not None:
                samples[index].set_metainfo({'pad_shape': tuple(image.shape[1:])})
            padded.append(image)
        return padded
