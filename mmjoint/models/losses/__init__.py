from .confident_label_loss import ConfidentLabelLoss
from .consistency_loss import SoftmaxMSELoss
from .cross_entropy_loss import MaskedCrossEntropyLoss
from .dice_ce_loss import DiceCELoss
from .evidential_loss import EvidentialLoss
from .log_dice_loss import LogDiceLoss, one_hot_map
from .reduction import full_precision, masked_mean
from .sample_dice_loss import SampleDiceLoss
from .soft_dice_loss import SoftDiceLoss
from .task_dice_loss import TaskDiceLoss

__all__ = [
    'ConfidentLabelLoss',
    'DiceCELoss',
    'EvidentialLoss',
    'LogDiceLoss',
    'MaskedCrossEntropyLoss',
    'SampleDiceLoss',
    'SoftDiceLoss',
    'SoftmaxMSELoss',
    'TaskDiceLoss',
    'full_precision',
    'masked_mean',
    'one_hot_map',
]
