"""Imports run one way. Every edge between our packages that is not listed here is an error."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = ('mmjoint', 'prepare_dataset', 'tools')

# Package -> what it may import. Lowest floors first; a package may always import itself.
GROUND = {'mmjoint', 'mmjoint.registry', 'mmjoint.utils'}
LOW = GROUND | {'mmjoint.functional', 'mmjoint.structures', 'mmjoint.phantoms'}
LOSSES = LOW | {'mmjoint.models.losses'}
PARTS = {f'mmjoint.models.{name}' for name in ('backbones', 'necks', 'decode_heads', 'cls_heads')}
PARTS |= {f'mmjoint.models.{name}' for name in ('layers', 'data_preprocessors')}
PARTS |= {f'mmjoint.models.{name}' for name in ('discriminators', 'diffusion')}
RECIPES = {f'mmjoint.models.{name}' for name in ('joint', 'semi', 'adversarial', 'uncertainty')}
AROUND = 'mmjoint.models.explanations'
MODELS = PARTS | RECIPES | {'mmjoint.models', 'mmjoint.models.losses', AROUND}
BESIDE = {f'mmjoint.{name}' for name in ('datasets', 'engine', 'evaluation', 'visualization')}
ALLOWED = {
    'mmjoint': set(),
    'mmjoint.registry': set(),
    'mmjoint.utils': set(),
    'mmjoint.functional': {'mmjoint.utils'},
    'mmjoint.phantoms': {'mmjoint.utils'},
    'mmjoint.structures': GROUND | {'mmjoint.functional'},
    'mmjoint.models.losses': LOW,
    **{part: LOSSES | {'mmjoint.models.layers'} for part in PARTS},
    'mmjoint.models.joint': LOSSES | PARTS,
    **{f'mmjoint.models.{name}': LOSSES | PARTS | {'mmjoint.models.joint'} for name in ('semi',)},
    'mmjoint.models.adversarial': LOSSES | PARTS | {'mmjoint.models.joint'},
    # Around any built model: it knows their base class alone.
    'mmjoint.models.uncertainty': LOSSES | {'mmjoint.models.joint'},
    AROUND: LOSSES | {f'mmjoint.models.{name}' for name in ('layers', 'joint', 'uncertainty')},
    'mmjoint.models': MODELS,  # its __init__ lists its modules
    **{package: LOW for package in BESIDE},
    'mmjoint.apis': LOW | MODELS | BESIDE,
    'tools': LOW | MODELS | BESIDE | {'mmjoint.apis'},
    'prepare_dataset': {'mmjoint.utils', 'mmjoint.phantoms'},
}
LIGHT = ('prepare_dataset', 'mmjoint.phantoms')
HEAVY = {'torch', 'torchvision', 'mmengine', 'mmcv', 'mmseg', 'mmpretrain', 'monai', 'torchmetrics'}


def module_of(file):
    parts = file.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def package_of(module):
    """The row of the table that a module belongs to."""
    while module not in ALLOWED:
        assert '.' in module, f'{module} has no row in ALLOWED: say what it may import'
        module = module.rpartition('.')[0]
    return module


FILES = {module_of(f): f for folder in CODE for f in sorted((ROOT / folder).rglob('*.py'))}


def imports(source, module, *, is_package=False):
    """Absolute names of all modules that a source imports, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                above = module.split('.')
                above = above[: len(above) - node.level + is_package]
                base = '.'.join([*above, base] if base else above)
            for alias in node.names:
                whole = f'{base}.{alias.name}'
                found.append(whole if whole in FILES else base)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith('import_module'):
            found += [a.value for a in node.args if isinstance(a, ast.Constant)]
    return found


def forbidden(module, targets):
    """The imports that leave the module's package against the table."""
    own = package_of(module)
    wrong = []
    for target in targets:
        if target.split('.')[0] not in CODE:
            continue
        package = package_of(target)
        if package != own and package not in ALLOWED[own]:
            wrong.append(f'{module} imports {target}: {own} may not import {package}')
    return wrong


def edges(module):
    file = FILES[module]
    return imports(file.read_text('utf-8'), module, is_package=file.name == '__init__.py')


def test_imports_run_one_way():
    assert len(FILES) > 100
    assert not [line for module in FILES for line in forbidden(module, edges(module))]


def test_table_has_no_circle():
    """Rows can be put in an order in which each imports earlier ones only."""
    # Parts share the layers among them, so the row of the layers is theirs without itself.
    left = {row: allowed - {row} for row, allowed in ALLOWED.items()}
    left['mmjoint.models'] -= {'mmjoint.models'}
    while left:
        free = [row for row, allowed in left.items() if not allowed & left.keys()]
        assert free, f'circle among {sorted(left)}'
        for row in free:
            del left[row]


def test_preparation_is_light():
    for module in FILES:
        if module.startswith(LIGHT):
            heavy = {target.split('.')[0] for target in edges(module)} & HEAVY
            assert not heavy, f'{module} imports {heavy}'


@pytest.mark.parametrize(
    ('module', 'source', 'count'),
    [
        ('mmjoint.models.losses.x', 'from ..joint import UML', 1),
        ('mmjoint.models.losses.x', 'from mmjoint.models.backbones import VGG16BN', 1),
        ('mmjoint.models.backbones.x', 'from ..layers import resample', 0),
        ('mmjoint.models.backbones.x', 'from ..necks import MutualFeatureMixer', 1),
        ('mmjoint.functional.x', 'import mmjoint.structures', 1),
        ('mmjoint.functional.x', 'def f():\n    from mmjoint import registry', 1),
        ('mmjoint.datasets.x', 'from mmjoint.engine.hooks import IterSeedHook', 1),
        ('mmjoint.utils.x', 'from .. import structures', 1),
        ('mmjoint.utils.x', "importlib.import_module('mmjoint.models')", 1),
        ('mmjoint.apis.x', 'from mmjoint.engine import JointRunner', 0),
        ('prepare_dataset.x', 'from mmjoint.datasets import REFUGEJointDataset', 1),
        ('tools.x', 'from prepare_dataset.refuge import main', 1),
        ('tools.x', 'from mmjoint.apis.train import main\nimport torch', 0),
    ],
)
def test_the_check_itself(module, source, count):
    assert len(forbidden(module, imports(source, module))) == count


def run(code):
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)


def test_importing_mmjoint_is_silent_and_light():
    code = 'import sys, mmjoint, mmjoint.utils.io, mmjoint.utils.cli, mmjoint.phantoms\n'
    done = run(f'{code}assert not {HEAVY!r} & sys.modules.keys(), sys.modules.keys()')
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


def test_importing_all_packages_is_silent():
    packages = ', '.join(sorted(BESIDE | {'mmjoint.models', 'mmjoint.apis.train'}))
    done = run(f'import {packages}')
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
