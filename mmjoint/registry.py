"""The registries of mmjoint: children of mmengine's, scope ``mmjoint``.

A type without prefix is looked up here first and then in mmengine; types of other packages carry
their scope (``mmseg.FCNHead``). Modules register themselves when a registry is first asked, by
its ``locations``; ``import mmjoint`` loads none of them.
"""

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope='mmjoint', locations=list(locations))


RUNNERS = _child('runner', mmengine_registry.RUNNERS, 'mmjoint.engine')
LOOPS = _child('loop', mmengine_registry.LOOPS, 'mmjoint.engine')
HOOKS = _child('hook', mmengine_registry.HOOKS, 'mmjoint.engine')
LOG_PROCESSORS = _child('log_processor', mmengine_registry.LOG_PROCESSORS, 'mmjoint.engine')
OPTIMIZERS = _child('optimizer', mmengine_registry.OPTIMIZERS, 'mmjoint.engine')
OPTIM_WRAPPERS = _child('optim_wrapper', mmengine_registry.OPTIM_WRAPPERS, 'mmjoint.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    'optimizer wrapper constructor', mmengine_registry.OPTIM_WRAPPER_CONSTRUCTORS, 'mmjoint.engine'
)
PARAM_SCHEDULERS = _child(
    'parameter scheduler', mmengine_registry.PARAM_SCHEDULERS, 'mmjoint.engine'
)
FUNCTIONS = _child('function', mmengine_registry.FUNCTIONS, 'mmjoint.datasets')
DATASETS = _child('dataset', mmengine_registry.DATASETS, 'mmjoint.datasets')
DATA_SAMPLERS = _child('data sampler', mmengine_registry.DATA_SAMPLERS, 'mmjoint.datasets')
TRANSFORMS = _child('transform', mmengine_registry.TRANSFORMS, 'mmjoint.datasets')
MODELS = _child('model', mmengine_registry.MODELS, 'mmjoint.models')
MODEL_WRAPPERS = _child('model_wrapper', mmengine_registry.MODEL_WRAPPERS, 'mmjoint.models')
WEIGHT_INITIALIZERS = _child(
    'weight initializer', mmengine_registry.WEIGHT_INITIALIZERS, 'mmjoint.models'
)
# Wrappers around a built model, chosen by `uq` and `--uq`; mmengine has no such family.
UNCERTAINTY = Registry('uncertainty', scope='mmjoint', locations=['mmjoint.models.uncertainty'])
METRICS = _child('metric', mmengine_registry.METRICS, 'mmjoint.evaluation')
EVALUATOR = _child('evaluator', mmengine_registry.EVALUATOR, 'mmjoint.evaluation')
VISUALIZERS = _child('visualizer', mmengine_registry.VISUALIZERS, 'mmjoint.visualization')
VISBACKENDS = _child('vis_backend', mmengine_registry.VISBACKENDS, 'mmjoint.visualization')
INFERENCERS = _child('inferencer', mmengine_registry.INFERENCERS, 'mmjoint.apis.inferencer')
