"""Batches of augmented patches, cut and augmented by nnU-Net's own code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from torch import Tensor

from atso_bench.benchmark.task import Image, Pool
from atso_bench.datasets._opened import Opened
from atso_bench.datasets._prepare import open_array

OVERSAMPLED = 0.33  # share of a batch that holds foreground for sure, as in nnU-Net
CACHE_BYTES = 4 << 30


@dataclass(frozen=True)
class MaskedImage(Image):
    """An image whose normalisation left out the voxels in ``outside``, a boolean ``(*spatial)`` array."""

    outside: Any = None


class Images(Opened):
    """Preprocessed images by case id; kept in memory while they fit into ``CACHE_BYTES``, else read by the slice."""

    def __init__(self, folder: Path, ids: tuple[str, ...]) -> None:
        super().__init__(folder, ids)
        self._cache: dict[str, Image] = {}
        self._bytes = 0

    def __getitem__(self, case_id: str) -> Image:
        self.check(case_id)
        if case_id not in self._cache:
            self._cache[case_id] = self._load(case_id)
        return self._cache[case_id]

    def __getstate__(self) -> dict[str, Any]:
        """A process that is started anew reads the images itself."""
        return {**self.__dict__, "_cache": {}, "_bytes": 0}

    def _load(self, case_id: str) -> Image:
        import json

        properties = json.loads((self._folder / f"{case_id}.json").read_text(encoding="utf-8"))
        array = self._array(self._folder / f"{case_id}.b2nd")
        outside = self._folder / f"{case_id}.outside.b2nd"
        return MaskedImage(array, properties, self._array(outside)) if outside.is_file() else Image(array, properties)

    def _array(self, path: Path) -> Any:
        array = open_array(path)
        size = int(np.prod(array.shape)) * array.dtype.itemsize
        if self._bytes + size > CACHE_BYTES:
            return array
        self._bytes += size
        return _read_only(array[:])


class TrueLabels(Opened):
    """Labels of S by case id, and of no other case."""

    what = "labelled cases of this task"

    def __init__(self, folder: Path, ids: tuple[str, ...]) -> None:
        super().__init__(folder, ids)
        self._cache: dict[str, np.ndarray] = {}

    def __getitem__(self, case_id: str) -> np.ndarray:
        self.check(case_id)
        if case_id not in self._cache:
            self._cache[case_id] = _read_only(open_array(self._folder / f"{case_id}.b2nd")[:])
        return self._cache[case_id]


class Augmentation:
    """nnU-Net's training transforms for one patch size, and the larger patch that is cut before a rotation.

    Attributes:
        patch: what the network gets.
        initial: what is cut out of the image.
        mirror_axes: axes along which patches may be mirrored, in training and at inference.
    """

    def __init__(self, patch: tuple[int, ...], use_mask_for_norm: list[bool]) -> None:
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

        stand_in = SimpleNamespace(
            configuration_manager=SimpleNamespace(patch_size=list(patch)), print_to_log_file=_say_nothing
        )
        configure = nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size
        rotation, dummy_2d, initial, self.mirror_axes = configure(stand_in)
        self.patch = patch
        self.initial = tuple(int(size) for size in initial)
        self.transforms = nnUNetTrainer.get_training_transforms(
            patch, rotation, None, self.mirror_axes, dummy_2d, use_mask_for_norm=use_mask_for_norm
        )
        _fix_blur(self.transforms)


class BatchDraw:
    """Draws a batch from a pool at each call: a function of NumPy's and torch's global random states, no more."""

    def __init__(self, pool: Pool, size: int, augmentation: Augmentation, label_manager: Any) -> None:
        if not pool.ids:
            raise ValueError("a batch cannot be drawn from a pool without cases")
        self.pool = pool
        self.augmentation = augmentation
        self.classes: list[Any] = [int(value) for value in label_manager.foreground_labels]
        cases = SimpleNamespace(identifiers=list(pool.ids))
        patches = (augmentation.initial, augmentation.patch)
        self.loader = nnUNetDataLoader(cases, size, *patches, label_manager, oversample_foreground_percent=OVERSAMPLED)
        self.loader.has_ignore = label_manager.has_ignore_label and pool.labels is not None
        if self.loader.has_ignore:
            self.classes.append(list(self.loader.annotated_classes_key))
        self._locations: dict[str, Any] = {}

    def __call__(self) -> tuple[Tensor, Tensor | None]:
        with one_thread(), torch.no_grad():
            drawn = enumerate(self.loader.get_indices())
            samples = [self._sample(str(name), self.loader.get_do_oversample(number)) for number, name in drawn]
        image = torch.stack([sample["image"] for sample in samples])
        if self.pool.labels is None:
            return image, None
        if "regression_target" in samples[0]:
            return image, torch.stack([_renormalised(sample["regression_target"]) for sample in samples])
        return image, torch.stack([sample["segmentation"][0].long() for sample in samples])

    def _sample(self, name: str, foreground: bool) -> dict[str, Tensor]:
        image = self.pool.images[name]
        label = None if self.pool.labels is None else self.pool.labels[name]
        locations = None if label is None else self._find(name, label)
        lower, upper = self.loader.get_bbox(image.array.shape[1:], foreground and label is not None, locations)
        box = [list(bounds) for bounds in zip(lower, upper, strict=True)]
        sample = {"image": self._cut(image.array, box, 0, np.float32)}
        outside = getattr(image, "outside", None)
        outside = None if outside is None else self._cut(outside[None], box, 1, np.bool_)
        if label is not None and label.ndim == image.array.ndim:
            sample["regression_target"] = self._cut(label, box, 0, np.float32)
        elif label is not None:
            sample["segmentation"] = self._cut(label[None], box, -1, np.int16)
        if outside is not None:  # nnU-Net keeps these voxels at zero and finds them by the label -1
            segmentation = sample.setdefault("segmentation", torch.zeros(outside.shape, dtype=torch.int16))
            segmentation[outside & (segmentation == 0)] = -1
        result: dict[str, Tensor] = self.augmentation.transforms(**sample)
        return result

    def _cut(self, array: Any, box: list[list[int]], padding: int, dtype: Any) -> Tensor:
        """A patch of its own: the transforms write into what they get."""
        patch = crop_and_pad_nd(array, box, padding, cast_cropped_to=dtype)
        patch = patch[:, 0] if self.loader.patch_size_was_2d else patch
        return torch.from_numpy(np.array(patch, dtype=dtype))

    def _find(self, name: str, label: np.ndarray) -> Any:
        """Where the classes are, sampled by nnU-Net; from the pool's own labels, true or pseudo."""
        if name not in self._locations:
            hard = label.argmax(0) if label.ndim == self.pool.images[name].array.ndim else label
            sample = DefaultPreprocessor._sample_foreground_locations
            self._locations[name] = sample(np.asarray(hard)[None], self.classes, verbose=False)
        return self._locations[name]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread for a while: a sum over a patch is then the same here and in a worker, to the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _renormalised(soft: Tensor) -> Tensor:
    """What a rotation moved in from beyond the image is background."""
    soft = soft.clamp(0, 1)
    soft[0] += (1 - soft.sum(0)).clamp_min(0)
    return soft


def _fix_blur(transform: Any) -> None:
    """nnU-Net's blur measures which of two algorithms is faster and takes that one: its result depends on the clock."""
    for part in (*getattr(transform, "transforms", ()), getattr(transform, "transform", None)):
        if isinstance(part, GaussianBlurTransform):
            part.benchmark = False
        elif part is not None:
            _fix_blur(part)


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def _say_nothing(*_: Any) -> None:
    pass
