from .calibration_metric import CalibrationMetric
from .case_records import CaseRecords
from .case_uncertainty_metric import CaseUncertaintyMetric
from .classification_metric import ClassificationMetric
from .segmentation_metric import SegmentationMetric
from .task_metric import TaskMetric
from .temperature_metric import TemperatureMetric
from .uncertainty_metric import UncertaintyMetric

__all__ = [
    'CalibrationMetric',
    'CaseRecords',
    'CaseUncertaintyMetric',
    'ClassificationMetric',
    'SegmentationMetric',
    'TaskMetric',
    'TemperatureMetric',
    'UncertaintyMetric',
]
