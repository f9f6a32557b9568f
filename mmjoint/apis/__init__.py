from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .inferencer import JointInferencer

__all__ = ['JointInferencer']


def __getattr__(name: str) -> Any:
    # Looked up when it is asked for: the other programs need no model to be imported.
    if name == 'JointInferencer':
        from .inferencer import JointInferencer

        return JointInferencer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
