"""A generator that learns against critics, each with an optimizer of its own."""

from abc import ABCMeta, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from mmengine.model import BaseModel, is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from mmjoint.registry import MODELS
from mmjoint.structures import SampleList
from mmjoint.structures.typing import ConfigType
from mmjoint.utils.errors import UserError

Inputs = Tensor | dict[str, Tensor]
Samples = SampleList | dict[str, SampleList]

GENERATOR = 'generator'


class AdversarialModel(BaseModel, metaclass=ABCMeta):
    """A generator and the critics that it is trained against.

    .. code:: text

        train_step(data, optim_wrapper)
          inputs, samples = data_preprocessor(data)
          with the critics frozen:
            losses, kept = generator_losses(inputs, samples)     optim_wrapper['generator'] steps
          for name in critic_names:
            losses = critic_losses(name, kept)                   optim_wrapper[name] steps

        forward(inputs, samples, mode='predict')                 predict, by the generator alone
        forward(inputs, mode='tensor')                           the generator's raw outputs

    The critics learn from what the generator has made *before* its step, kept and detached, so each
    image goes through the generator once. Every optimizer may accumulate gradients over
    iterations, or use mixed precision, on its own.

    The config gives one optimizer to each part, under the name of its attribute, and in several
    processes a data-parallel wrapper to each::

        optim_wrapper=dict(
            constructor='MultiOptimWrapperConstructor', generator=dict(...), critics=dict(...))
        model_wrapper_cfg=dict(type='MMSeparateDistributedDataParallel')

    Subclasses call a part that learns as a module (``self.generator(x)``, no method of it), else
    the gradients would not be averaged over the processes; and frozen critics, or a part that
    predicts, through :func:`bare`, which spares the wrapper.

    Args:
        generator: Config of the generator, or a built one.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Initialisation.
    """

    critic_names: tuple[str, ...] = ()
    """Attributes that are critics, in the order of their steps."""

    def __init__(
        self,
        *,
        generator: ConfigType | nn.Module,
        data_preprocessor: ConfigType | None = None,
        init_cfg: ConfigType | list[ConfigType] | None = None,
    ) -> None:
        if isinstance(data_preprocessor, dict):
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.generator = generator if isinstance(generator, nn.Module) else MODELS.build(generator)

    # Training -------------------------------------------------------------------------------

    def train_step(self, data: Any, optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:
        """Let the generator make one step, then each critic.

        Args:
            data: A batch as the data loader gives it.
            optim_wrapper: One for the generator and one for each of ``critic_names``.

        Returns:
            What is logged: ``loss``, the generator's sum, and all single values.

        Raises:
            UserError: The optimizers are not those of the parts.
        """
        self._check_optimizers(optim_wrapper)
        data = self.data_preprocessor(data, True)
        critics = [getattr(self, name) for name in self.critic_names]
        wrapper = optim_wrapper[GENERATOR]
        with frozen(critics):
            with wrapper.optim_context(self.generator):
                losses, kept = self.generator_losses(data['inputs'], data['data_samples'])
            loss, log = self.parse_losses(losses)
            wrapper.update_params(loss)
        for name, critic in zip(self.critic_names, critics, strict=True):
            with optim_wrapper[name].optim_context(critic):
                losses = self.critic_losses(name, kept)
            loss, own = self.parse_losses(losses)
            optim_wrapper[name].update_params(loss)
            log.update((key, value) for key, value in own.items() if key != 'loss')
        return {key: value.detach() for key, value in log.items()}

    @abstractmethod
    def generator_losses(
        self, inputs: Inputs, data_samples: Samples
    ) -> tuple[dict[str, Tensor], Any]:
        """Losses of the generator; the critics are frozen.

        Args:
            inputs: Preprocessed.
            data_samples: Their samples.

        Returns:
            The losses, keys with "loss" being trained, and what the critics need: detached.
        """

    @abstractmethod
    def critic_losses(self, name: str, kept: Any) -> dict[str, Tensor]:
        """Losses of one of the critics.

        Args:
            name: Out of ``critic_names``.
            kept: As ``generator_losses`` gave it.
        """

    def _check_optimizers(self, optim_wrapper: OptimWrapper | OptimWrapperDict) -> None:
        expected = [GENERATOR, *self.critic_names]
        is_dict = isinstance(optim_wrapper, OptimWrapperDict)
        found = sorted(optim_wrapper.keys()) if is_dict else type(optim_wrapper).__name__
        if found != sorted(expected):
            raise UserError(
                f'optim_wrapper: expected the optimizers {expected} of {type(self).__name__}, '
                f"found {found}; set constructor='MultiOptimWrapperConstructor' and one dict for "
                'each'
            )

    # Prediction -----------------------------------------------------------------------------

    def forward(
        self,
        inputs: Inputs,
        data_samples: SampleList | None = None,
        mode: Literal['loss', 'predict', 'tensor'] = 'tensor',
    ) -> Any:
        """Dispatch to ``predict``, or give the generator's raw outputs.

        Args:
            inputs: ``(B, C, H, W)``, preprocessed.
            data_samples: The samples; needed for 'predict'.
            mode: 'predict' or 'tensor'; losses are computed by ``train_step`` alone.

        Raises:
            ValueError: ``mode`` is none of the two.
        """
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'tensor':
            return bare(self.generator)(inputs)
        if mode == 'loss':
            raise ValueError(
                f'{type(self).__name__} has several optimizers and is trained by its train_step '
                "alone; set model_wrapper_cfg=dict(type='MMSeparateDistributedDataParallel')"
            )
        raise ValueError(f"mode must be 'predict' or 'tensor', got {mode!r}")

    @abstractmethod
    def predict(self, inputs: Tensor, data_samples: SampleList) -> SampleList:
        """Fill the samples with predictions."""


def bare(part: nn.Module) -> nn.Module:
    """Give a part without its data-parallel wrapper, for use without gradients of its own."""
    return part.module if is_model_wrapper(part) else part


@contextmanager
def frozen(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Compute no gradients of some modules' parameters, for a while."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
