"""Every name that we register is documented, and hides no name of the packages we stand on."""

import importlib
import inspect

import pytest
from mmengine.registry import Registry

from mmjoint import registry as ours

REGISTRIES = {name: value for name, value in vars(ours).items() if isinstance(value, Registry)}


def registered():
    for name, node in REGISTRIES.items():
        node.import_from_location()
        for key, kind in sorted(node.module_dict.items()):
            yield pytest.param(node, key, kind, id=f'{name}-{key}')


ENTRIES = list(registered())


def test_there_is_something_in_them():
    keys = {entry.values[1] for entry in ENTRIES}
    assert {'UML', 'UMLPaper', 'JointModel', 'EvidentialLoss', 'REFUGEJointDataset'} <= keys
    assert {'SegmentationMetric', 'TrainProgressHook', 'PackJointInputs', 'JointRunner'} <= keys


def test_scope_and_parents():
    for name, node in REGISTRIES.items():
        assert node.scope == 'mmjoint', name
        if node is not ours.UNCERTAINTY:  # a family of ours alone
            assert node.parent.scope == 'mmengine' and node.parent.name == node.name, name


@pytest.mark.parametrize(('node', 'key', 'kind'), ENTRIES)
def test_documented(node, key, kind):
    assert kind.__module__.startswith('mmjoint.'), f'{key} is registered by {kind.__module__}'
    if node is ours.UNCERTAINTY and key.islower():  # the name of `--uq`, beside the class's own
        assert node.module_dict[kind.__name__] is kind
    else:
        assert kind.__name__ == key
    text = kind.__dict__.get('__doc__') or ''
    assert len(text.split()) >= 5, f'{key} has no docstring of its own'
    assert text.strip().splitlines()[0].endswith('.'), f'{key}: the first line is no sentence'
    known = ' '.join(base.__doc__ or '' for base in kind.__mro__ if base is not object)
    silent = [
        argument
        for argument, value in inspect.signature(kind.__init__).parameters.items()
        if argument != 'self'
        and value.kind not in (value.VAR_POSITIONAL, value.VAR_KEYWORD)
        and argument not in known
    ]
    assert not silent, f'{key} does not document {silent}'


@pytest.mark.parametrize(('node', 'key', 'kind'), ENTRIES)
def test_no_misspelt_argument_is_swallowed(node, key, kind):
    if kind.__init__ is object.__init__:  # takes nothing, whatever its signature says
        return
    signature = inspect.signature(kind.__init__)
    loose = [p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD]
    assert not loose, f'{key} takes **{loose}: a misspelt key would pass unseen'


def test_no_name_of_mmengine_is_hidden():
    for name, node in REGISTRIES.items():
        hidden = set() if node.parent is None else set(node.parent.module_dict)
        assert not set(node.module_dict) & hidden, name


@pytest.mark.parametrize('package', ['mmseg', 'mmpretrain'])
@pytest.mark.parametrize(
    'name', ['MODELS', 'HOOKS', 'METRICS', 'TRANSFORMS', 'DATASETS', 'VISUALIZERS']
)
def test_no_name_of_another_package_is_hidden(package, name):
    node = getattr(importlib.import_module(f'{package}.registry'), name)
    node.import_from_location()
    assert len(node.module_dict) > 0
    shared = set(node.module_dict) & set(REGISTRIES[name].module_dict)
    assert shared == set()
