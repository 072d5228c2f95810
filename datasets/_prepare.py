"""nnU-Net's preprocessing of single cases: images and labels apart, so that nothing of a label can reach an image."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np

from atso_bench.benchmark.record import atomic, write_json
from atso_bench.datasets._noted import sums_of
from atso_bench.datasets._plan import Plans, configuration_of, scales_late
from atso_bench.datasets._raw import Case
from atso_bench.datasets._storage import quiet
from atso_bench.datasets._unscaled import UNSCALED, Facts, compact

Item = TypeVar("Item")
Result = TypeVar("Result")
Say = Callable[[str], None]
"""Takes a line for the user."""

_QUIET_SECONDS = 15.0
_POOL_BYTES = (
    256 << 20
)  # below this amount of raw data, starting processes (each imports torch) takes longer than the work


@dataclass(frozen=True)
class Preprocessing:
    """nnU-Net's DefaultPreprocessor with one plan. It pickles, for worker processes."""

    plans: Plans
    configuration: str
    dataset_json: Mapping[str, Any]

    @cached_property
    def reader(self) -> Any:
        return self._manager.image_reader_writer_class()

    def image(self, case: Case, folder: Path) -> dict[str, str]:
        """Write ``CASE.b2nd`` (normalised image), ``CASE.json`` (its geometry), and ``CASE.outside.b2nd`` where the
        normalisation leaves out the voxels around the nonzero region. The label is not opened. Returns the files'
        checksums.

        Where the plan's scaling waits for a labelled set, the image is neither scaled nor resampled (``_unscaled.py``).
        """
        image, properties = self._read(case)
        if scales_late(self.plans, self.configuration):
            image, outside, properties = self._run(image, None, properties, self._for_unscaled)
            spacing = [properties["spacing"][axis] for axis in self.plans["transpose_forward"]]
            plan = configuration_of(self.plans, self.configuration)
            image, properties[UNSCALED] = compact(image), asdict(Facts.of(image, plan, spacing))
        else:
            image, outside, properties = self._run(image, None, properties, self._for_images)
        made = [folder / f"{case.id}.b2nd", folder / f"{case.id}.json"]
        if any(self._for_images.use_mask_for_norm):
            made.append(folder / f"{case.id}.outside.b2nd")
            write_array(made[-1], outside[0] < 0, self._patch)
        write_array(made[0], image, self._patch)
        write_json(made[1], json.loads(json.dumps(properties, default=_plain)))
        return sums_of(*made)

    def label(self, case: Case, folder: Path, ignore: int | None) -> dict[str, str]:
        """Write ``CASE.b2nd``, class indices in the image's geometry; nnU-Net's ignore label becomes ``IGNORE``.

        Returns the file's checksum.
        """
        from atso_bench.benchmark.task import IGNORE

        image, properties = self._read(case)
        label = self.reader.read_seg(str(case.label))[0]
        label = self._run(image, label, properties, self._for_labels)[1][0]
        classes = np.maximum(label, 0).astype(np.uint8)  # nnU-Net writes -1 outside the nonzero region
        if ignore is not None:
            classes[label == ignore] = IGNORE
        made = folder / f"{case.id}.b2nd"
        write_array(made, classes, self._patch)
        return sums_of(made)

    @cached_property
    def _manager(self) -> Any:
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        return PlansManager(self.plans)

    @cached_property
    def _for_images(self) -> SimpleNamespace:
        manager = self._manager.get_configuration(self.configuration)
        names = ("spacing", "normalization_schemes", "use_mask_for_norm", "resampling_fn_data", "resampling_fn_seg")
        return SimpleNamespace(**{name: getattr(manager, name) for name in names})

    @cached_property
    def _for_labels(self) -> SimpleNamespace:
        """The same geometry; the image only marks the nonzero region here and is neither normalised nor resampled."""
        from nnunetv2.preprocessing.resampling.no_resampling import no_resampling_hack

        schemes = ["NoNormalization"] * len(self._for_images.normalization_schemes)
        changes = {"normalization_schemes": schemes, "resampling_fn_data": no_resampling_hack}
        return SimpleNamespace(**{**vars(self._for_images), **changes})

    @cached_property
    def _for_unscaled(self) -> SimpleNamespace:
        """The same geometry; CT stays as it is, and no channel is resampled."""
        schemes = self._for_images.normalization_schemes
        kept = ["NoNormalization" if scheme == "CTNormalization" else scheme for scheme in schemes]
        return SimpleNamespace(**{**vars(self._for_labels), "normalization_schemes": kept})

    @property
    def _patch(self) -> tuple[int, ...]:
        return tuple(configuration_of(self.plans, self.configuration)["patch_size"])

    def _read(self, case: Case) -> tuple[np.ndarray, dict[str, Any]]:
        with quiet():
            image, properties = self.reader.read_images([str(path) for path in case.images])
        return image, properties

    def _run(
        self, image: np.ndarray, label: np.ndarray | None, properties: dict[str, Any], how: SimpleNamespace
    ) -> Any:
        from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

        preprocessor = DefaultPreprocessor(verbose=False)
        return preprocessor.run_case_npy(image, label, properties, self._manager, how, dict(self.dataset_json))


def write_array(path: Path, array: np.ndarray, patch: Sequence[int]) -> None:
    """Write compressed in blocks that suit reading patches; the file appears whole or not at all."""
    import blosc2
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params

    shape = array.shape if array.ndim == 4 else (1, *array.shape)
    blocks, chunks = (sizes[4 - array.ndim :] for sizes in comp_blosc2_params(shape, tuple(patch), array.itemsize))
    settings = {"codec": blosc2.Codec.LZ4HC, "clevel": 5, "filters": [blosc2.Filter.SHUFFLE], "nthreads": 1}
    with atomic(path) as partial:
        blosc2.asarray(
            np.ascontiguousarray(array), urlpath=str(partial), mode="w", chunks=chunks, blocks=blocks, cparams=settings
        )


def open_array(path: Path) -> Any:
    """A blosc2 array that decompresses what is sliced.

    Raises:
        OSError: if there is none, or something else than plain numbers. A file can ask ``blosc2.open`` for other files,
            for addresses on the network, and for Python code that it holds; what is used here knows numbers alone.
    """
    from blosc2 import NDArray, blosc2_ext

    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    try:
        array = blosc2_ext.open(str(path), "r", 0, dparams={"nthreads": 1})
        plain = isinstance(array, NDArray) and set(array.schunk.meta.keys()) <= {"b2nd"}
    except (RuntimeError, ValueError) as error:
        raise OSError(f"{path} is damaged: {error}") from error
    if not plain:
        raise OSError(f"{path} holds something else than an array of numbers, and is not opened")
    return array


def each(
    function: Callable[[Item], Result], items: Sequence[Item], size: int, what: str = "", say: Say | None = None
) -> list[Result]:
    """``[function(item) for item in items]``, in several processes if the data (``size`` bytes) is large."""
    processes = min(_processors(), 8, len(items))
    if size < _POOL_BYTES or processes < 2:
        return list(_counted(map(function, items), len(items), what, say))
    with get_context("spawn").Pool(processes, initializer=_one_thread) as pool:
        return list(_counted(pool.imap(function, items), len(items), what, say))


def size_of(cases: Iterable[Case]) -> int:
    """Bytes of the raw files."""
    files = (path for case in cases for path in case.files)
    return sum(path.stat().st_size for path in files if path.is_file())


def _counted(results: Iterable[Result], total: int, what: str, say: Say | None) -> Iterator[Result]:
    said = time.monotonic()
    for done, result in enumerate(results, start=1):
        if say is not None and time.monotonic() - said > _QUIET_SECONDS:
            said = time.monotonic()
            say(f"{what}: {done} of {total}")
        yield result


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON has them."""
    return value.tolist()
