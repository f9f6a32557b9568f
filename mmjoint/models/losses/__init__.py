from .cross_entropy_loss import MaskedCrossEntropyLoss
from .evidential_loss import EvidentialLoss
from .log_dice_loss import LogDiceLoss, one_hot_map
from .reduction import full_precision, masked_mean
from .soft_dice_loss import SoftDiceLoss

__all__ = [
    'EvidentialLoss',
    'LogDiceLoss',
    'MaskedCrossEntropyLoss',
    'SoftDiceLoss',
    'full_precision',
    'masked_mean',
    'one_hot_map',
]
