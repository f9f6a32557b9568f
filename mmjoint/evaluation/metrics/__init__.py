from .calibration_metric import CalibrationMetric
from .classification_metric import ClassificationMetric
from .segmentation_metric import SegmentationMetric
from .uncertainty_metric import UncertaintyMetric

__all__ = [
    'CalibrationMetric',
    'ClassificationMetric',
    'SegmentationMetric',
    'UncertaintyMetric',
]
