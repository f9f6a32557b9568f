"""Predict images or volumes with a trained model: what ``tools/infer.py`` does, from Python."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.infer import BaseInferencer
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from torch import Tensor, nn

from mmjoint.datasets.transforms.loading import read_image
from mmjoint.engine.checkpoint import load_weights, read_checkpoint
from mmjoint.models.explanations import Explainer
from mmjoint.models.uncertainty import UncertaintyEstimator
from mmjoint.registry import DATASETS, INFERENCERS, MODELS, TRANSFORMS
from mmjoint.structures import JointDataSample, SampleList
from mmjoint.utils.errors import UserError
from mmjoint.utils.volume_files import (
    HDF5_SUFFIXES,
    ITK_SUFFIXES,
    NIFTI_SUFFIXES,
    count_frames,
    without_suffix,
)

from .config import building, load_config
from .explain import choose_explanations
from .task_files import in_raw_frame, tasks_of
from .uncertainty import adapt_pipeline, build_estimator, choose_uq, same_estimator

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.tif', '.tiff', '.bmp')
VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, *HDF5_SUFFIXES, *ITK_SUFFIXES)
Kind = Literal['images', 'volumes']
SUFFIXES: dict[Kind, tuple[str, ...]] = {'images': IMAGE_SUFFIXES, 'volumes': VOLUME_SUFFIXES}


class Frame(NamedTuple):
    """One volume of a NIfTI file that holds several along its fourth axis.

    Attributes:
        path: The file.
        number: Index along that axis.
    """

    path: str | Path
    number: int


Source = str | Path | np.ndarray | Frame
Observer = Callable[[JointDataSample, int, Tensor], None]

_LOADERS: dict[str, Kind] = {'LoadJointImage': 'images', 'LoadVolume': 'volumes'}
_LEFT_OUT = ('LoadJointImage', 'LoadJointAnnotations', 'LoadVolumeAnnotations', 'LoadTaskMaps')
_RESIZERS = {'PillowResize': 'size', 'Resize': 'scale'}
_AHEAD = 2  # images that wait, ready for the network
# What can be wrong with one image alone; anything else is a fault of the program.
IMAGE_ERRORS = (UserError, RuntimeError, ValueError, MemoryError)


class ImagePrediction(NamedTuple):
    """An image or a volume and what was predicted for it.

    Attributes:
        index: Its place among the inputs, from 0.
        image: uint8 ``(H, W, 3)``, RGB, as it was read; of a volume ``(D, H, W)``, grey, as the
            network sees it.
        sample: The prediction, on the CPU, at the size of the image.
    """

    index: int
    image: np.ndarray
    sample: JointDataSample


@INFERENCERS.register_module()
class JointInferencer(BaseInferencer):
    """Predict images or volumes that stand in no data set, with or without uncertainty.

    They go through the config's ``infer_pipeline``, or where it has none the test pipeline, from
    which only the reading of annotations is left out. Its first transform says what is predicted:
    ``LoadJointImage`` images, ``LoadVolume`` volumes. The predictions of images come back at the
    size of the images; those of volumes on the grid of the network's input, with the way back to
    that of the file (``geometry``, see :class:`mmjoint.apis.volume_writer.VolumeWriter`). A
    background thread reads the next images while the network works on one.

    .. code:: python

        inferencer = JointInferencer(config, checkpoint, uq='mc_dropout')
        for sample in inferencer(['a.jpg', 'b.jpg']):
            sample.pred_sem_seg.data                          # (1, H, W) class ids
            sample.seg_logits.data.softmax(0)                 # (C, H, W) mean probabilities
            sample.seg_uncertainty.predictive_entropy         # (1, H, W) nats
            # With explain='saliency', of models that classify:
            sample.explanations.saliency                      # (1, H, W)
        # Of models of several tasks, by the task's name:
        sample.pred_tasks.vessel                          # (C_t, H, W) probabilities
        sample.seg_uncertainty.predictive_entropy_vessel  # (1, H, W) nats

    Args:
        config: A config file, or a loaded config. Of it ``model`` and ``infer_pipeline`` or the
            pipeline of ``test_dataloader`` are used.
        checkpoint: The model's weights. Several are the members of an ensemble, which
            ``uq='ensemble'`` needs.
        uq: Name of an estimator of uncertainty, ``dict(type=NAME, ...)`` with its settings, or
            None for the config's own (``uq``); without one the model predicts by itself.
        explain: Maps of where an image's class comes from, ``saliency``, ``class_activation`` or
            both, ``()`` for none, or None for the config's own (``explain``).
        device: Such as ``cuda:1`` or ``cpu``. The first accelerator, if there is one, by default.
        batch_size: Images of one size that the network sees at once. Estimators take images one
            by one and batch their passes instead.
        input_size: Of images, ``(width, height)`` of the network's input, in place of what the
            pipeline resizes to. A pipeline that does not resize, because the set was resized when
            it was prepared, gets a bilinear resizing.

    Raises:
        UserError: If the config, the checkpoint, the estimator or the device is wrong.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | Sequence[str | Path],
        uq: str | Mapping[str, Any] | None = None,
        *,
        explain: str | Sequence[str] | None = None,
        device: str | None = None,
        batch_size: int = 1,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        cfg = config if isinstance(config, Config) else load_config(str(config))
        self.where = str(cfg.filename or 'config')
        self.kind: Kind = input_kind(cfg)
        """What the config is for: ``'images'`` or ``'volumes'``."""
        if batch_size < 1:
            raise UserError(f'batch_size: expected a number >= 1, found {batch_size}')
        if input_size is not None and not all(length >= 1 for length in input_size):
            raise UserError(f'input_size: expected width and height >= 1, found {input_size}')
        if input_size is not None and self.kind == 'volumes':
            raise UserError(f'{self.where}: {NO_INPUT_SIZE}')
        options = dict(uq) if isinstance(uq, Mapping) else {}
        self.uq = choose_uq(cfg, options.pop('type', None) if options else uq, options)
        """Settings of the estimator, or None."""
        self.explain = choose_explanations(cfg, explain)
        """Names of the maps that explain the class."""
        self.batch_size = batch_size
        self.input_size = None if input_size is None else tuple(input_size)
        self.dataset_meta = _dataset_meta(cfg)
        """Names and colours of the classes, as far as the config's test set tells them."""
        self.checkpoint_meta: dict[str, Any] = {}
        """``meta`` of the (first) checkpoint."""
        single = isinstance(checkpoint, str | Path)
        super().__init__(
            cfg,
            [str(path) for path in ([checkpoint] if single else checkpoint)],
            _check_device(device),
            scope='mmjoint',
            show_progress=False,
        )
        self.tasks = tasks_of(self.model)
        """Channels of each task, of models that have several; empty for others."""
        if self.tasks:
            self.dataset_meta['tasks'] = self.tasks

    def __call__(self, images: Source | Iterable[Source]) -> SampleList:
        """Predict images or volumes.

        Args:
            images: A path, a folder (its files, sorted by name), an array, or several of them.
                Arrays are images, uint8: RGB ``(H, W, 3)``, RGBA (alpha is dropped) or grey
                ``(H, W)``. Where the pipeline reads frames, a file of several is all of them.

        Returns:
            One sample per image, on the CPU, with the fields of :class:`JointDataSample` that the
            model (or the estimator) fills. All are kept in memory: for many large images go
            through :meth:`iterate`.

        Raises:
            UserError: If there is no image, or one cannot be read.
        """
        return [prediction.sample for prediction in self.iterate(images)]

    def iterate(
        self,
        images: Source | Iterable[Source],
        *,
        observer: Observer | None = None,
        on_error: Callable[[int, Exception], None] | None = None,
    ) -> Iterator[ImagePrediction]:
        """Predict images one after the other, holding only a few of them.

        Args:
            images: See :meth:`__call__`.
            observer: Called with each pass: the sample (``sample_idx`` in its metainfo is the
                image's number), the number of the pass from 0, and the pixel probabilities
                ``(C, *space)``. A prediction that is not made of passes counts as one.
            on_error: Called with the number of an image that cannot be read or predicted and the
                error, in place of raising it.

        Yields:
            Predictions in the order of the images; those that failed are left out.
        """
        inputs = self._inputs_to_list(images)
        seen: set[int] = set()

        def observe(sample: JointDataSample, number: int, probs: Tensor) -> None:
            seen.add(sample.metainfo['sample_idx'])
            observer(sample, number, probs)

        predictor = self.model.predictor if isinstance(self.model, Explainer) else self.model
        if isinstance(predictor, UncertaintyEstimator):
            predictor.observer = None if observer is None else observe
        try:
            for batch in self.preprocess(inputs, self.batch_size, on_error=on_error):
                numbers, pictures, packed = zip(*batch, strict=True)
                try:
                    samples = self.forward(self.collate_fn(packed))
                except UserError:  # the estimator does not go with the model, whatever the image
                    raise
                except IMAGE_ERRORS as error:
                    if on_error is None:
                        raise
                    for number in numbers:
                        on_error(number, error)
                    continue
                for number, picture, sample in zip(numbers, pictures, samples, strict=True):
                    alone = observer is not None and number not in seen
                    if alone and 'seg_logits' in sample:
                        observer(sample, 0, sample.seg_logits.data.float().softmax(0))
                    if alone and 'pred_tasks' in sample:
                        observer(sample, 0, torch.cat(list(sample.pred_tasks.values())))
                    sample = in_raw_frame(sample.cpu())
                    yield ImagePrediction(number, picture, sample)
        finally:
            if isinstance(predictor, UncertaintyEstimator):
                predictor.observer = None

    def preprocess(
        self,
        inputs: Sequence[Source],
        batch_size: int = 1,
        *,
        on_error: Callable[[int, Exception], None] | None = None,
    ) -> Iterator[list[tuple[int, np.ndarray, dict]]]:
        """Read images in the background and give them in batches of one size.

        Yields:
            Lists of number, image and what the pipeline made of it.
        """
        batch: list[tuple[int, np.ndarray, dict]] = []
        for number, outcome in self._read_ahead(inputs, batch_size + _AHEAD):
            if isinstance(outcome, Exception):
                if on_error is None or not isinstance(outcome, IMAGE_ERRORS):
                    raise outcome
                on_error(number, outcome)
                continue
            image, packed = outcome
            if batch and packed['inputs'].shape != batch[0][2]['inputs'].shape:
                yield batch
                batch = []
            batch.append((number, image, packed))
            if len(batch) == batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def visualize(self, inputs: Sequence[np.ndarray], preds: SampleList) -> list[np.ndarray]:
        """Draw images with their predictions as rows of panels, of volumes three slices.

        Args:
            inputs: Images of :class:`ImagePrediction`, at the size of the predictions.
            preds: Their samples; a ``gt_sem_seg`` in them is drawn too.

        Returns:
            Pictures, uint8 ``(h, w, 3)`` each.
        """
        # Only here are matplotlib's figures needed.
        if self.kind == 'volumes':
            from mmjoint.visualization.volume_slices import draw_slices

            return [
                draw_slices(image, sample, self.dataset_meta, caption=_caption(sample))
                for image, sample in zip(inputs, preds, strict=True)
            ]
        if self.visualizer is None:
            from mmjoint.visualization import JointVisualizer

            self.visualizer = JointVisualizer(name='inferencer', with_errors=True)
            self.visualizer.dataset_meta = self.dataset_meta
        pictures = []
        for image, sample in zip(inputs, preds, strict=True):
            if 'seg_logits' in sample:
                num_classes = len(sample.seg_logits.data)
                self.visualizer.probability_classes = range(1, num_classes)
            pictures.append(self.visualizer.draw(image, sample, caption=_caption(sample)))
        return pictures

    def postprocess(
        self, preds: SampleList, visualization: Any = None, return_datasample: bool = True
    ) -> SampleList:
        """Give the samples as they are; the arguments are those of mmengine's inferencers."""
        return preds

    def _inputs_to_list(self, images: Source | Iterable[Source]) -> list[Source]:
        images = [images] if isinstance(images, Source) else list(images)
        inputs: list[Source] = []
        for image in images:
            if isinstance(image, str | Path) and Path(image).is_dir():
                inputs += find_inputs(Path(image), self.kind)
            else:
                inputs.append(image)
        if self.reads_frames:
            split = (frames_of(each) if isinstance(each, str | Path) else [each] for each in inputs)
            inputs = [each for sources in split for each in sources]
        if not inputs:
            raise UserError('expected at least one image, found an empty list')
        return inputs

    def _read_ahead(self, inputs: Sequence[Source], ahead: int) -> Iterator[tuple[int, Any]]:
        """Give each image's number with what was read of it, or with the error that arose."""
        pool = ThreadPoolExecutor(1, thread_name_prefix='images')
        waiting: list[Any] = []
        try:
            for number in range(len(inputs) + ahead):
                if number < len(inputs):
                    waiting.append(pool.submit(self._read, number, inputs[number]))
                if number >= ahead:
                    task = waiting.pop(0)
                    error = task.exception()
                    yield number - ahead, task.result() if error is None else error
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, number: int, source: Source) -> tuple[np.ndarray, dict]:
        if self.kind == 'volumes':
            return self._read_volume(number, source)
        if isinstance(source, np.ndarray):
            path, image = f'image {number}', _as_image(source, number)
        else:
            path = str(source.path if isinstance(source, Frame) else source)
            check_kind(path, self.kind)
            image = read_image(path)
        packed = self.pipeline(
            dict(
                img_path=path,
                img=image,
                img_shape=image.shape[:2],
                ori_shape=image.shape[:2],
                sample_idx=number,
                classes=self.dataset_meta['classes'],
                seg_fields=[],
            )
        )
        return image, packed

    def _read_volume(self, number: int, source: Source) -> tuple[np.ndarray, dict]:
        if isinstance(source, np.ndarray):
            raise UserError(f'volume {number}: expected the path of a file, found an array')
        path, frame = source if isinstance(source, Frame) else (source, None)
        path = str(path)
        check_kind(path, self.kind)
        results = dict(
            img_path=path,
            sample_idx=number,
            classes=self.dataset_meta['classes'],
            seg_fields=[],
        )
        if frame is not None:
            results['frame'] = frame
        packed = self.pipeline(results)
        inputs = packed['inputs']
        axes, wanted = inputs.dim() - 1, _space_axes(self.model)
        if wanted is not None and axes != wanted:
            raise UserError(
                f'{path}: expected {"volumes of 3" if wanted == 3 else "images of 2"} axes, as '
                f'the model takes them, found the shape {tuple(inputs.shape[1:])}; use another '
                'model or other files'
            )
        return _as_grey(inputs[0]), packed

    def _init_model(self, cfg: Config, weights: list[str], device: str) -> nn.Module:
        if cfg.get('model') is None:
            raise UserError(f'{self.where}: model is missing; pass the config of a model')
        is_ensemble = self.uq is not None and same_estimator(self.uq['type'], 'ensemble')
        if len(weights) > 1 and not is_ensemble:
            raise UserError(
                f'expected one checkpoint, found {len(weights)}; several are the members of an '
                'ensemble, which the estimator ensemble takes'
            )
        if is_ensemble:
            self.uq['checkpoints'] = weights[1:] or self.uq.get('checkpoints')
            if not self.uq['checkpoints']:
                raise UserError(
                    'ensemble: expected the checkpoints of all members, found one; give several'
                )
        model = self._build_model(cfg)
        checkpoint = read_checkpoint(weights[0])
        self.checkpoint_meta = dict(checkpoint.get('meta') or {})
        load_weights(model, checkpoint, weights[0], strict=True)
        model.to(device).eval()
        predictor = model if self.uq is None else build_estimator(self.uq, model)
        return Explainer(predictor, self.explain).eval() if self.explain else predictor

    def _build_model(self, cfg: Config) -> nn.Module:
        with (
            warnings.catch_warnings(),
            DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmjoint'),
            building(cfg),
        ):
            # mmcv says that it was installed without its compiled operators: none is used.
            message = 'Fail to import ``MultiScaleDeformableAttention``'
            warnings.filterwarnings('ignore', message=message)
            return MODELS.build(cfg.model)

    def _init_pipeline(self, cfg: Config) -> Compose:
        pipeline = _pipeline(cfg)
        if self.input_size is not None:
            pipeline = _resized(pipeline, self.input_size)
        # Images are read once, by us, so that they are at hand for pictures; masks are not needed.
        rest = [transform for transform in pipeline if _name(transform) not in _LEFT_OUT]
        with building(cfg):
            return Compose(
                [
                    TRANSFORMS.build(transform) if isinstance(transform, Mapping) else transform
                    for transform in adapt_pipeline(rest, self.uq)
                ]
            )

    @property
    def reads_frames(self) -> bool:
        """Whether the pipeline reads single frames of files with a fourth axis."""
        return any(getattr(transform, 'frames', False) for transform in self.pipeline.transforms)

    def _init_collate(self, cfg: Config) -> Callable:
        return pseudo_collate

    def _init_visualizer(self, cfg: Config) -> Visualizer | None:
        return None  # made when it is first asked for, and never one of mmengine's global ones


NO_INPUT_SIZE = 'input_size is for images, volumes have the size of infer_pipeline; leave it out'


def input_kind(cfg: Config) -> Kind:
    """Say whether a config's model takes images or volumes from files.

    Raises:
        UserError: If no pipeline tells.
    """
    return _LOADERS[_name(_pipeline(cfg)[0])]


def reads_frames(cfg: Config) -> bool:
    """Say whether a config's pipeline reads single frames of files with a fourth axis."""
    loader = _pipeline(cfg)[0]
    return bool(isinstance(loader, Mapping) and loader.get('frames'))


def check_kind(path: str | Path, kind: Kind, where: str | None = None) -> None:
    """Refuse, by its suffix, a volume where images are expected, or the reverse.

    Args:
        path: The file.
        kind: What the model takes.
        where: What is named in the message; the file by default.

    Raises:
        UserError: If it is of the other kind.
    """
    other: Kind = 'volumes' if kind == 'images' else 'images'
    if str(path).lower().endswith(SUFFIXES[other]):
        article = {'images': 'an image', 'volumes': 'a volume'}
        raise UserError(
            f'{where or path}: expected {article[kind]} ({" ".join(SUFFIXES[kind])}), as this '
            f'model takes them, found {article[other]}; take it out, or use another model'
        )


def find_inputs(
    folder: Path,
    kind: Kind = 'images',
    *,
    suffixes: Sequence[str] | None = None,
    recursive: bool = False,
) -> list[Path]:
    """List the images or volumes of a folder, sorted by path; hidden files are none.

    Args:
        folder: An existing folder.
        kind: What is looked for.
        suffixes: Lower case, with a dot. Upper case letters of a file's name make no difference.
            By default those of ``kind``; then files of the other kind may not be there.
        recursive: Also look into its folders.

    Raises:
        UserError: If there is none, or one of the other kind.
    """
    files = [path for path in folder.glob('**/*' if recursive else '*') if path.is_file()]
    seen = sorted(path for path in files if not path.name.startswith('.'))
    if suffixes is None:
        for path in seen:
            check_kind(path, kind)
        suffixes = SUFFIXES[kind]
    found = [path for path in seen if path.name.lower().endswith(tuple(suffixes))]
    if found:
        return found
    below = '' if recursive else ' (folders in it are not looked into)'
    what = f'{len(files)} other files' if files else 'no file'
    raise UserError(f'{folder}: expected {kind} ({" ".join(suffixes)}), found {what}{below}')


def frames_of(path: str | Path) -> list[str | Path | Frame]:
    """Give the frames of a NIfTI file with a fourth axis, or the file itself."""
    count = count_frames(path)
    return [path] if count is None else [Frame(path, number) for number in range(count)]


def name_of(path: str | Path) -> str:
    """Name of an image or a volume without its folder and its (double) suffix."""
    name = without_suffix(path)
    return Path(name).stem if name == Path(path).name else name


def _caption(sample: JointDataSample) -> str:
    return Path(sample.metainfo.get('img_path') or '').name


def _as_grey(values: Tensor) -> np.ndarray:
    """Give one channel of a network's input as uint8, its range stretched to 0..255."""
    low, high = values.min(), values.max()
    scaled = (values - low) * (255 / (high - low).clamp_min(1e-12))
    return scaled.round().byte().numpy()


def _space_axes(model: nn.Module) -> int | None:
    """Number of space axes that a network's convolutions work on, ``None`` without any."""
    modules = list(model.modules())
    for kind, axes in ((nn.Conv3d, 3), (nn.Conv2d, 2)):
        if any(isinstance(module, kind) for module in modules):
            return axes
    return None


def _as_image(array: np.ndarray, number: int) -> np.ndarray:
    """Check an array and give it as RGB ``(H, W, 3)``."""
    wanted = 'uint8, RGB (H, W, 3) or grey (H, W)'
    if array.dtype != np.uint8 or array.size == 0:
        raise UserError(f'image {number}: expected {wanted}, found {array.dtype} {array.shape}')
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] not in (3, 4):
        raise UserError(f'image {number}: expected {wanted}, found the shape {array.shape}')
    return np.ascontiguousarray(array[..., :3])


def _check_device(device: str | None) -> str:
    if device is None:
        return get_device()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).split('\n')[0].split('. ')[0]
        raise UserError(f'device {device}: cannot be used here: {reason}') from error
    return device


def _test_set(cfg: Config) -> Mapping[str, Any]:
    """Give the config of the test set, from within whatever wraps it."""
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    while 'pipeline' not in dataset and isinstance(dataset.get('dataset'), Mapping):
        dataset = dataset['dataset']
    return dataset


def _sources(dataset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Give the configs of the sets that a set is made of, or its own."""
    parts = dataset.get('datasets')
    parts = list(parts.values()) if isinstance(parts, Mapping) else parts
    return [part for part in parts if part] if parts else [dataset]


def _pipeline(cfg: Config) -> list[Mapping[str, Any]]:
    """Give the transforms for files that stand in no data set."""
    where = str(cfg.filename or 'config')
    key, pipeline = 'infer_pipeline', cfg.get('infer_pipeline')
    if pipeline is None:
        key, pipeline = 'test_dataloader.dataset.pipeline', _test_set(cfg).get('pipeline')
    if not pipeline:
        raise UserError(f'{where}: {key} is missing; images are prepared as it says')
    if _name(pipeline[0]) not in _LOADERS:
        raise UserError(
            f'{where}: {key}: expected {" or ".join(_LOADERS)} at its start, found '
            f'{_name(pipeline[0])}; only such images can be predicted from files'
        )
    return list(pipeline)


def _dataset_meta(cfg: Config) -> dict[str, Any]:
    """Give names and colours of the classes without reading the data set, which need not exist."""
    meta = {'classes': (), 'cls_classes': (), 'palette': []}
    for dataset in _sources(_test_set(cfg)):
        kind = dataset.get('type')
        kind = DATASETS.get(kind) if isinstance(kind, str) else kind
        own = {**getattr(kind, 'METAINFO', {}), **(dataset.get('metainfo') or {})}
        # Of several sets one may know the classes of masks, another those of images.
        meta.update({key: value for key, value in own.items() if value or key not in meta})
    return meta


def _name(transform: Mapping[str, Any] | Any) -> str:
    kind = transform.get('type') if isinstance(transform, Mapping) else type(transform)
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__


def _resized(
    pipeline: Sequence[Mapping[str, Any]], size: tuple[int, int]
) -> list[Mapping[str, Any]]:
    """Let a pipeline resize to another size; put a resizing behind its loader if it has none."""
    if not any(_name(transform) in _RESIZERS for transform in pipeline):
        return [pipeline[0], dict(type='mmcv.Resize', scale=size), *pipeline[1:]]
    return [
        {**transform, _RESIZERS[_name(transform)]: size}
        if _name(transform) in _RESIZERS
        else transform
        for transform in pipeline
    ]
