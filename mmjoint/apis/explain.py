"""Choose the maps that explain an image's class, and add them to what is predicted."""

import argparse
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.model import is_model_wrapper

from mmjoint.engine import JointRunner
from mmjoint.functional.explanation_scale import EXPLANATIONS
from mmjoint.models.explanations import Explainer

from .checks import check_explanations


def add_explain_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the option that asks for maps of the class."""
    parser.add_argument(
        '--explain',
        nargs='*',
        metavar='NAME',
        help="maps of where the image's class comes from, in place of the config's own (explain): "
        f'{", ".join(EXPLANATIONS)}; without a name both',
    )


def choose_explanations(cfg: Config, asked: str | Sequence[str] | None) -> tuple[str, ...]:
    """Give the maps that a caller or a config asks for.

    Args:
        cfg: ``explain`` names the config's own.
        asked: A name or several, ``()`` for none, or None for the config's own.

    Raises:
        UserError: A name is unknown.
    """
    if asked is not None:
        return check_explanations(asked, 'explain')
    return check_explanations(cfg.get('explain') or (), f'{cfg.filename}: explain')


def explanations_from_args(cfg: Config, args: argparse.Namespace) -> tuple[str, ...]:
    """Give what :func:`choose_explanations` gives for the option ``--explain``.

    Raises:
        UserError: A name is unknown.
    """
    if args.explain is None:
        return choose_explanations(cfg, None)
    return check_explanations(args.explain or EXPLANATIONS, '--explain')


def place_explainer(runner: JointRunner, names: Sequence[str]) -> None:
    """Let a runner's model, or the estimator in its place, explain the classes that it predicts.

    Raises:
        UserError: The model does not classify.
    """
    if not names:
        return
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    runner.model = Explainer(model, names).eval()
