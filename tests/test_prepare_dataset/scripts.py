"""The scripts of prepare_dataset/, imported as Python finds them when it runs one of them."""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / 'prepare_dataset'
sys.path.insert(0, str(FOLDER))

import common  # noqa: E402 - the folder must be on the path first
import ispy1  # noqa: E402
import ispy1_layout  # noqa: E402
import make_phantoms  # noqa: E402
import reading  # noqa: E402
import refuge  # noqa: E402
import volumes  # noqa: E402

__all__ = ['common', 'ispy1', 'ispy1_layout', 'make_phantoms', 'reading', 'refuge', 'volumes']
