from typing import Any

import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor

from mmjoint.registry import MODELS
from mmjoint.structures import SampleList

from .checks import check_finite_values, check_same_shape


@MODELS.register_module()
class JointDataPreprocessor(SegDataPreProcessor):
    """Bring a batch of 2-D images to the device, to float32 and to one size.

    mmseg's preprocessor, which already leaves absent ground truth absent, with errors that name the
    image. With ``mean=[0.0], std=[255.0]`` the input is exactly ``x / 255`` in float32.

    In training, images of different sizes are padded at the bottom and right to the largest of the
    batch and to a multiple of ``size_divisor``, with ignored pixels in the mask and in the label
    maps of tasks. Outside training they must agree; padding is done by
    ``test_cfg=dict(size_divisor=...)`` only.

    Args:
        mean: Mean of all channels (one value) or of each of three.
        std: Standard deviation, likewise.
        size: Fixed size ``(H, W)`` to pad to in training, instead of ``size_divisor``.
        size_divisor: Both sides become multiples of it in training. 1 unless ``size`` is given.
        pad_val: Value of padded pixels, after normalisation.
        seg_pad_val: Value of padded pixels in the mask.
        check_finite: Refuse NaN and infinity. Looked for in float images only, since integers
            cannot hold them.
        test_cfg: ``dict(size=...)`` or ``dict(size_divisor=...)``: padding outside training.
    """

    def __init__(
        self,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        size: tuple[int, int] | None = None,
        size_divisor: int | None = None,
        pad_val: float = 0,
        seg_pad_val: int = 255,
        check_finite: bool = True,
        test_cfg: dict | None = None,
    ) -> None:
        if size is None and size_divisor is None:
            size_divisor = 1
        super().__init__(
            mean=mean,
            std=std,
            size=size,
            size_divisor=size_divisor,
            pad_val=pad_val,
            seg_pad_val=seg_pad_val,
            test_cfg=test_cfg,
        )
        self.check_finite = check_finite

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Preprocess a batch as the data loader gives it.

        Args:
            data: ``inputs``, a list of ``(C, H, W)`` or a tensor ``(B, C, H, W)``, and
                ``data_samples``, a list of :class:`JointDataSample` or ``None``.
            training: Whether the batch is for training.

        Returns:
            ``inputs`` float32 ``(B, C, H, W)`` and ``data_samples`` on the device.

        Raises:
            UserError: If sizes differ outside training, the number of channels differs, or a value
                is not finite.
        """
        inputs, samples = data['inputs'], data.get('data_samples')
        check_same_shape(inputs, samples, training, num_axes=(3,))
        if self.check_finite:
            check_finite_values(inputs, samples)
        data = super().forward(data, training)
        if training:
            self._pad_tasks(data['data_samples'] or ())
        return data

    def _pad_tasks(self, samples: SampleList) -> None:
        # mmseg pads the maps that it knows, and leaves by how much.
        for sample in samples:
            padding = sample.metainfo['padding_size']
            if any(padding) and 'gt_tasks' in sample:
                maps = {
                    task: F.pad(labels, padding, value=self.seg_pad_val)
                    for task, labels in sample.gt_tasks.items()
                }
                sample.gt_tasks = PixelData(**maps)
