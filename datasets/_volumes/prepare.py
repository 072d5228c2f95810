"""nnU-Net's preprocessing of single cases: images and labels apart, so that nothing of a label can reach an image."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from atso_bench.benchmark.store.files import write_json
from atso_bench.datasets._shared.noted import sums_of
from atso_bench.datasets._shared.storage import quiet
from atso_bench.datasets._volumes.arrays import write_array
from atso_bench.datasets._volumes.plan import Plans, configuration_of, scales_late
from atso_bench.datasets._volumes.raw import Case
from atso_bench.datasets._volumes.unscaled import UNSCALED, Facts, compact


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

        Where the plan's scaling waits for a labelled set, the image is neither scaled nor resampled (``unscaled.py``).
        """
        image, properties = self._read_case(case)
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

        image, properties = self._read_case(case)
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

    def _read_case(self, case: Case) -> tuple[np.ndarray, dict[str, Any]]:
        with quiet():
            image, properties = self.reader.read_images([str(path) for path in case.images])
        return image, properties

    def _run(
        self, image: np.ndarray, label: np.ndarray | None, properties: dict[str, Any], how: SimpleNamespace
    ) -> Any:
        from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

        preprocessor = DefaultPreprocessor(verbose=False)
        return preprocessor.run_case_npy(image, label, properties, self._manager, how, dict(self.dataset_json))


def size_of(cases: Iterable[Case]) -> int:
    """Bytes of the raw files."""
    files = (path for case in cases for path in case.files)
    return sum(path.stat().st_size for path in files if path.is_file())


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON has them."""
    return value.tolist()
