"""Tell configs apart by their content."""

import hashlib
import json
from collections.abc import Collection
from typing import Any

from mmengine.config import Config

# Where a run writes, what it shows and how it was started change no result.
_WITHOUT_EFFECT = ('work_dir', 'launcher', 'resume', 'log_level', 'visualizer', 'vis_backends')


def config_hash(cfg: Config, *, without: Collection[str] = ()) -> str:
    """Give the SHA-256 of a config's content, whatever its file is called and where it lies.

    Keys that are ``None`` count like missing ones; so do those that only tell where a run writes.

    Args:
        cfg: Whole config.
        without: Further keys that do not count.
    """
    left_out = {*_WITHOUT_EFFECT, *without}
    content = {
        key: value
        for key, value in cfg.to_dict().items()
        if key not in left_out and value is not None
    }
    return hash_of(content)


def hash_of(content: Any) -> str:
    """Give the SHA-256 of plain nested values; lists and tuples count as the same."""
    text = json.dumps(content, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode('utf-8')).hexdigest()
