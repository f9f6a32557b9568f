"""The pages: links and paths lead somewhere, commands are accepted, examples do what they say."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from mmjoint.apis import calibrate, infer, launch, run_stages, test, train, train_and_test
from mmjoint.apis.chain import read_chain
from mmjoint.apis.checks import check_config
from mmjoint.apis.config import load_config
from mmjoint.apis.named_sets import use_test_set
from mmjoint.apis.running import build_metrics
from mmjoint.evaluation.eval_names import available_names, resolve_names
from mmjoint.models.losses import MaskedCrossEntropyLoss
from mmjoint.registry import MODELS

from .test_prepare_dataset.scripts import (
    aria,
    chest_xray_pneumonia,
    ddr,
    drive,
    idrid,
    isic2016,
    ispy1,
    jsrt,
    la,
    make_phantoms,
    mmwhs,
    mnms,
    montgomery,
    nih_pneumonia,
    refuge,
    refuge_tasks,
    reta,
    stare,
    synapse,
)

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        *ROOT.glob('*.md'),
        *ROOT.glob('docs/**/*.md'),
        *ROOT.glob('configs/**/*.md'),
        *ROOT.glob('prepare_dataset/*.md'),
        *ROOT.glob('tests/reference/*.md'),
        ROOT / 'work_dirs/README.md',
    ]
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
TRACKED = ('configs', 'docs', 'mmjoint', 'prepare_dataset', 'requirements', 'tests', 'tools')
# How a command's words are parsed; scripts that are not here are loaded for their `parse_args`.
PARSERS = {
    'prepare_dataset/refuge.py': lambda words: refuge.build_parser().parse_args(words),
    'prepare_dataset/ispy1.py': lambda words: ispy1.build_parser().parse_args(words),
    'prepare_dataset/isic2016.py': lambda words: isic2016.build_parser().parse_args(words),
    'prepare_dataset/la.py': lambda words: la.build_parser().parse_args(words),
    'prepare_dataset/synapse.py': lambda words: synapse.build_parser().parse_args(words),
    'prepare_dataset/mmwhs.py': lambda words: mmwhs.build_parser().parse_args(words),
    'prepare_dataset/mnms.py': lambda words: mnms.build_parser().parse_args(words),
    'prepare_dataset/chest_xray_pneumonia.py': lambda words: (
        chest_xray_pneumonia.build_parser().parse_args(words)
    ),
    'prepare_dataset/jsrt.py': lambda words: jsrt.build_parser().parse_args(words),
    'prepare_dataset/montgomery.py': lambda words: montgomery.build_parser().parse_args(words),
    'prepare_dataset/nih_pneumonia.py': lambda words: nih_pneumonia.build_parser().parse_args(
        words
    ),
    'prepare_dataset/reta.py': lambda words: reta.build_parser().parse_args(words),
    'prepare_dataset/ddr.py': lambda words: ddr.build_parser().parse_args(words),
    'prepare_dataset/refuge_tasks.py': lambda words: refuge_tasks.build_parser().parse_args(words),
    'prepare_dataset/idrid.py': lambda words: idrid.build_parser().parse_args(words),
    'prepare_dataset/drive.py': lambda words: drive.build_parser().parse_args(words),
    'prepare_dataset/stare.py': lambda words: stare.build_parser().parse_args(words),
    'prepare_dataset/aria.py': lambda words: aria.build_parser().parse_args(words),
    'prepare_dataset/make_phantoms.py': lambda words: make_phantoms.build_parser().parse_args(
        words
    ),
    'tools/train.py': train.parse_args,
    'tools/test.py': test.parse_args,
    'tools/calibrate.py': calibrate.parse_args,
    'tools/infer.py': infer.parse_args,
    'tools/dist_train.sh': lambda words: launch_arguments('train', words[1], words[:1] + words[2:]),
    'tools/dist_test.sh': lambda words: launch_arguments('test', words[2], words[:2] + words[3:]),
    'tools/train_and_test.sh': train_and_test.parse_args,
    'tools/run_stages.py': run_stages.parse_args,
    'tools/slurm_train.sh': lambda words: train.parse_args(words[2:]),
    'tools/slurm_test.sh': lambda words: test.parse_args(words[2:]),
}
# Their arguments go to pytest, or they take none.
UNCHECKED = ('tools/quickstart.sh', 'tools/run_tests.sh')


def launch_arguments(task, number, words):
    _, rest = launch.parse_args([task, number, *words])
    return (train if task == 'train' else test).parse_args(rest)


def script_parser(script):
    """The ``parse_args`` of a script, without running it."""
    if script not in PARSERS:
        spec = importlib.util.spec_from_file_location(f'docs_{Path(script).stem}', ROOT / script)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        PARSERS[script] = module.parse_args
    return PARSERS[script]


def without_blocks(text):
    return re.sub(r'^ *```.*?^ *```', '', text, flags=re.S | re.M)


def blocks(page, language):
    pattern = rf'^ *```{language}\n(.*?)^ *```'
    return re.findall(pattern, page.read_text(encoding='utf-8'), re.S | re.M)


def anchors(page):
    """The anchors that the headings of a page get."""
    headings = re.findall(r'^#+ (.+)$', without_blocks(page.read_text(encoding='utf-8')), re.M)
    return {re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-') for heading in headings}


def commands():
    """(page, command without its interpreter) for each command that runs a script of ours."""
    found = []
    for page in PAGES:
        # Forms such as `<dataset>.py [options]` are no commands; whoever writes one says ```bash.
        for language, block in [(lang, b) for lang in ('bash', '') for b in blocks(page, lang)]:
            for line in block.replace('\\\n', ' ').splitlines():
                line = line.partition('  #')[0].strip()
                if not re.match(r'(?:\w+=\S+ )*(?:python|bash) (?:tools|prepare_dataset)/', line):
                    continue
                if language == '' and re.search(r'[<\[]|RAW_ROOT|DATASET', line):
                    continue
                words = shlex.split(line)
                while '=' in words[0]:
                    words = words[1:]
                found.append((str(page.relative_to(ROOT)), shlex.join(words[1:])))
    return found


@pytest.mark.parametrize('name', NAMES)
def test_links_lead_to_files_and_headings(name):
    page = ROOT / name
    text = without_blocks(page.read_text(encoding='utf-8'))
    broken = []
    for link in re.findall(r'\]\(([^)\s]+)\)', text):
        if re.match(r'[a-z]+:', link):
            continue
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize('name', NAMES)
def test_paths_of_the_repository_exist(name):
    text = (ROOT / name).read_text(encoding='utf-8')
    examples = set(re.findall(r'^# (\S+\.py)$', text, re.M))  # files that an example makes up
    pattern = rf'(?<![\w/.<])((?:{"|".join(TRACKED)})/[\w./-]*\w)(?![\w/]*[<*{{])'
    paths = {path for path in re.findall(pattern, text) if path not in examples}
    assert not sorted(path for path in paths if not (ROOT / path).exists())


def test_there_are_commands_of_all_tools():
    scripts = {command.split()[0] for _, command in commands()}
    assert scripts >= {
        *(f'tools/{name}' for name in ('quickstart.sh', 'run_tests.sh', 'train.py', 'test.py')),
        *(f'tools/{task}_{what}.sh' for task in ('dist', 'slurm') for what in ('train', 'test')),
        *(f'prepare_dataset/{name}.py' for name in ('refuge', 'ispy1', 'make_phantoms')),
        'tools/analysis_tools/benchmark.py',
        'tools/analysis_tools/browse_dataset.py',
        'tools/analysis_tools/get_flops.py',
        'tools/model_converters/convert.py',
    }


@pytest.mark.parametrize(('page', 'command'), commands())
def test_commands_are_accepted(page, command):
    script, *arguments = shlex.split(command)
    assert (ROOT / script).is_file()
    if script in UNCHECKED:
        return
    # A wrong option or value ends in SystemExit.
    args = script_parser(script)(arguments)
    config = getattr(args, 'config', None)
    if config is None or not config.startswith('configs/'):
        return
    if script == 'tools/run_stages.py':
        read_chain(str(ROOT / config), args.cfg_options)
        return
    cfg = load_config(str(ROOT / config), getattr(args, 'cfg_options', None))
    init_default_scope('mmjoint')
    use_test_set(cfg, getattr(args, 'test_set', None))
    check_config(cfg, training=script.endswith(('train.py', 'train.sh')))
    if getattr(args, 'eval', None):
        resolve_names(build_metrics(cfg.test_evaluator), args.eval)


def test_the_names_of_eval_are_all_listed():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    listed = re.search(r'`--eval` takes any of `([^`]+)`', text).group(1).split()
    init_default_scope('mmjoint')
    names = set()
    for config in (ROOT / 'configs').glob('*/*.py'):
        if config.parent.name != '_base_':
            evaluator = load_config(str(config)).get('test_evaluator')  # a chain has none
            names.update(available_names(build_metrics(evaluator)))
    assert len(listed) == len(set(listed)) and set(listed) == names


@pytest.mark.parametrize(
    'method', sorted(p.name for p in (ROOT / 'configs').iterdir() if p.name != '_base_')
)
def test_the_methods_page_lists_all_its_configs(method):
    folder = ROOT / 'configs' / method
    text = (folder / 'README.md').read_text(encoding='utf-8')
    files = {str(path.relative_to(folder)) for path in folder.glob('**/*.py')}
    assert set(re.findall(r'\]\(([\w/-]+\.py)\)', text)) == files


def test_example_configs_are_valid(tmp_path):
    """Their bases are found as if they stood where their first line says."""
    checked = []
    for page in PAGES:
        for block in blocks(page, 'python'):
            header = re.match(r'# (configs/\S+\.py)\n', block)
            if header is None:
                continue
            name = header.group(1)
            for base in ('_base_', 'uml'):
                link = tmp_path / 'configs' / base
                link.parent.mkdir(exist_ok=True)
                if not link.exists():
                    link.symlink_to(ROOT / 'configs' / base)
            file = tmp_path / name
            if file.parent.is_symlink():  # write beside, not into the repository
                block = block.replace("'./", "'../uml/")
                file = tmp_path / 'configs' / 'example' / file.name
            file.parent.mkdir(exist_ok=True)
            file.write_text(block, encoding='utf-8')
            cfg = load_config(str(file))
            init_default_scope('mmjoint')
            if 'MaskedFocalLoss' in block:  # of docs/new_method.md, see the next test
                assert cfg.model.decode_head.loss_ce == dict(
                    type='MaskedFocalLoss', gamma=2.0, loss_weight=0.4
                )
                cfg.model.decode_head.loss_ce = dict(type='MaskedCrossEntropyLoss')
            check_config(cfg, training=True)
            checked.append(name)
    assert len(checked) == 4


def test_the_example_loss_works():
    code = next(b for b in blocks(ROOT / 'docs/new_method.md', 'python') if 'register_module' in b)
    try:
        exec(compile(code, 'docs/new_method.md', 'exec'), {})
        build = MODELS.build
        logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        target = torch.arange(32).reshape(2, 4, 4) % 3
        target[0, 0] = 255
        plain = MaskedCrossEntropyLoss(loss_weight=0.4)(logits, target)
        focal = build(dict(type='MaskedFocalLoss', gamma=0.0, loss_weight=0.4))
        assert torch.allclose(focal(logits, target), plain)
        # A single pixel of two equal logits: p = 1/2, so (1/2) ** 2 * ln 2.
        focal = build(dict(type='MaskedFocalLoss', gamma=2.0))
        value = focal(torch.zeros(1, 2, 1), torch.zeros(1, 1, dtype=torch.int64))
        assert value.item() == pytest.approx(0.25 * 0.6931472, rel=1e-6)
        assert focal(torch.zeros(1, 2, 1), torch.full((1, 1), 255)).item() == 0
    finally:
        MODELS._module_dict.pop('MaskedFocalLoss', None)


def test_pictures_are_small():
    pictures = list((ROOT / 'docs').glob('**/*.png'))
    assert pictures and all(path.stat().st_size < 300_000 for path in pictures)
