"""MultiMix without its savings, for measuring: every image goes through everything.

The config beside this file imports it; it is no test.
"""

from mmjoint.registry import MODELS
from tests.test_models.test_semi.plain_multimix import PlainMultiMix

MODELS.register_module(module=PlainMultiMix)
