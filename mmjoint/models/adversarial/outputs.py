from typing import NamedTuple

from torch import Tensor


class TaskLogits(NamedTuple):
    """Raw outputs of a generator of several tasks.

    Attributes:
        main: By task, logits of its channels, ``(B, C_t, h, w)`` at the decoder's size.
        aux: Likewise of the auxiliary decoders, at theirs; None where they did not run.
    """

    main: dict[str, Tensor]
    aux: dict[str, Tensor] | None = None
