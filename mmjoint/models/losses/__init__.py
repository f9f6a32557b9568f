from .consistency_loss import SoftmaxMSELoss
from .cross_entropy_loss import MaskedCrossEntropyLoss
from .dice_ce_loss import DiceCELoss
from .evidential_loss import EvidentialLoss
from .log_dice_loss import LogDiceLoss, one_hot_map
from .reduction import full_precision, masked_mean
from .soft_dice_loss import SoftDiceLoss

__all__ = [
    'DiceCELoss',
    'EvidentialLoss',
    'LogDiceLoss',
    'MaskedCrossEntropyLoss',
    'SoftDiceLoss',
    'SoftmaxMSELoss',
    'full_precision',
    'masked_mean',
    'one_hot_map',
]
