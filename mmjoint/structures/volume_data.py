import numpy as np
import torch
from mmengine.structures import BaseDataElement, PixelData

_PRIVATE = ('_metainfo_fields', '_data_fields')


class VolumeData(PixelData):
    """Voxel-wise annotations or predictions.

    As :class:`mmengine.structures.PixelData`, for one more space axis: every field has the shape
    ``(C, D, H, W)``, and all fields share ``(D, H, W)``. ``PixelData`` itself refuses four axes and
    reads ``(D, H, W)`` as ``(C, H, W)``; here a missing channel axis is an error, not a guess.

    It is a ``PixelData``, so the setters of ``SegDataSample`` take it.

    Examples:
        >>> volume = VolumeData(data=torch.zeros(1, 4, 6, 8, dtype=torch.int64))
        >>> volume.shape
        (4, 6, 8)
        >>> volume[1:3, :, 2:4].shape
        (2, 6, 2)
    """

    def __setattr__(self, name: str, value: torch.Tensor | np.ndarray) -> None:
        """Store a field after a check of its type and shape.

        Raises:
            TypeError: If ``value`` is neither a tensor nor an array.
            ValueError: If it has not four axes, or another ``(D, H, W)`` than the fields before.
        """
        if name in _PRIVATE:
            super().__setattr__(name, value)
            return
        if not isinstance(value, (torch.Tensor, np.ndarray)):
            raise TypeError(
                f'VolumeData.{name} must be a tensor or an array, got {type(value).__name__}'
            )
        shape = tuple(value.shape)
        if len(shape) != 4:
            raise ValueError(
                f'VolumeData.{name} must have the shape (C, D, H, W), got {shape}; '
                'add the channel axis'
            )
        if self.shape is not None and shape[1:] != self.shape and not self._is_only_field(name):
            raise ValueError(
                f'VolumeData.{name} has the space axes {shape[1:]}, the other fields {self.shape}'
            )
        # PixelData's own checks are for (C, H, W).
        BaseDataElement.__setattr__(self, name, value)

    def __getitem__(self, item: tuple[int | slice, int | slice, int | slice]) -> 'VolumeData':
        """Cut all fields along D, H and W; an integer keeps its axis with length 1.

        Raises:
            TypeError: If ``item`` is not three integers or slices.
            IndexError: If an integer lies outside its axis.
        """
        if not isinstance(item, tuple) or len(item) != 3:
            raise TypeError(f'VolumeData takes an index for each of D, H and W, got {item!r}')
        cuts: list[slice] = [slice(None)]
        for index, size in zip(item, self.shape or (0, 0, 0), strict=True):
            if isinstance(index, slice):
                cuts.append(index)
            elif isinstance(index, int):
                if not -size <= index < size:
                    raise IndexError(f'index {index} is outside an axis of length {size}')
                start = index % size
                cuts.append(slice(start, start + 1))
            else:
                raise TypeError(f'VolumeData takes integers and slices, got {index!r}')
        cut = self.__class__(metainfo=self.metainfo)
        for name, value in self.items():
            setattr(cut, name, value[tuple(cuts)])
        return cut

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """``(D, H, W)`` of the fields, ``None`` where there are none."""
        return tuple(self.values()[0].shape[-3:]) if self._data_fields else None

    def _is_only_field(self, name: str) -> bool:
        return self._data_fields == {name}
