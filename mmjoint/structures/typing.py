"""Names for the types that go through public signatures."""

from collections.abc import Sequence
from typing import Any

from mmengine.config import ConfigDict

from .joint_data_sample import JointDataSample

ConfigType = ConfigDict | dict[str, Any]
OptConfigType = ConfigType | None
MultiConfig = ConfigType | Sequence[ConfigType]
SampleList = list[JointDataSample]
OptSampleList = SampleList | None
