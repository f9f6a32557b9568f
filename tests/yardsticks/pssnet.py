"""PSSNet without its savings, for measuring: both stages as in the original.

Configs beside this file import it; it is no test.
"""

from mmjoint.registry import MODELS
from tests.test_models.test_adversarial.plain_pssnet import PlainMultiTaskModel, PlainPSSNet

MODELS.register_module(module=PlainMultiTaskModel)
MODELS.register_module(module=PlainPSSNet)
