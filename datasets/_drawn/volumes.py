"""Synthetic volumes of an organ with lesions, made from a seed: what the embedded volumes have in common."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from atso_bench.datasets._drawn.body import ORGANS, Body, Scanner
from atso_bench.datasets._shared.remade import make, release
from atso_bench.datasets._volumes.dataset import NnunetDataset
from atso_bench.datasets._volumes.raw import RawDataset

if TYPE_CHECKING:
    from atso_bench.datasets._shared.each import Say


class DrawnVolumes(NnunetDataset):
    """Synthetic MR-like volumes in nnU-Net's raw layout, planned and preprocessed by nnU-Net like any other dataset.

    An organ and its lesions (some cases have none). Each case has one of several scanners, which differ in contrast,
    bias field, noise, blur and spacing, and one of five kinds of organ, which differ in size, shape and texture. Other
    structures share the organ's brightness and differ in texture and shape alone, and some of them hold spots that look
    like lesions.

    Args:
        configuration: nnU-Net configuration, ``2d`` or ``3d_fullres``.
        cases: labelled cases, test cases among them.
        unlabelled: cases without labels.
        size: voxels by axis (slices, rows, columns); each case differs a little.

    Attributes:
        seed: of the cases.
        release: raise it when the volumes change; scores of different releases do not compare.
        number: of the dataset in nnU-Net's names; that of another size is the next one.
        scanners: which there are.
    """

    source = "made when first used"
    licence = "the project's own"
    seed: ClassVar[int]
    release: ClassVar[str]
    number: ClassVar[int]
    scanners: ClassVar[tuple[Scanner, ...]]

    def __init__(
        self,
        configuration: str = "2d",
        cases: int = 60,
        unlabelled: int = 36,
        size: tuple[int, int, int] = (10, 36, 36),
    ) -> None:
        super().__init__(configuration)
        if cases < 2 or unlabelled < 0 or min(size) < 8:
            raise ValueError(
                f"{self.name} needs 2 cases and 8 voxels by axis, got cases={cases}, unlabelled={unlabelled}, "
                f"size={size}"
            )
        self.cases, self.without_label, self.size = cases, unlabelled, tuple(size)
        standard = (cases, unlabelled, self.size) == (60, 36, (10, 36, 36))
        shape = "x".join(map(str, size))
        word = self.name.title()
        other = f"Dataset{self.number + 1}_{word}-{cases}-{unlabelled}-{shape}"
        self.folder = f"Dataset{self.number}_{word}" if standard else other

    def is_ready(self) -> tuple[bool, str]:
        found = self._storage.find_raw(self.folder)
        return (True, self.source) if found is None else super().is_ready()

    def prepare(self, source: Path | None = None, say: Say | None = None) -> list[str]:
        if source is not None:
            raise ValueError(f"{self.name} is made from its seed and takes no --from {source}")
        return super().prepare(say=say)

    @cached_property
    def raw(self) -> RawDataset:
        found = self._storage.find_raw(self.folder)
        if found is None or release(found / "dataset.json") != self.release:
            found = make(self._storage.new_raw / self.folder, "dataset.json", self.release, self._write)
        return RawDataset(found, self.group)

    def _write(self, folder: Path) -> None:
        for name in ("imagesTr", "labelsTr", "imagesUn"):
            (folder / name).mkdir()
        for number in range(1, self.cases + self.without_label + 1):
            volume, name = self.volume(number), f"{self.name.rpartition('-')[2]}_{number:03d}"
            if number > self.cases:
                volume.write(volume.image, folder / "imagesUn" / f"{name}_0000.nii.gz")
            else:
                volume.write(volume.image, folder / "imagesTr" / f"{name}_0000.nii.gz")
                volume.write(volume.label, folder / "labelsTr" / f"{name}.nii.gz")
        description = {
            "name": self.folder[11:],
            "channel_names": {"0": "MRI"},
            "labels": {"background": 0, "organ": 1, "lesion": 2},
            "numTraining": self.cases,
            "file_ending": ".nii.gz",
            "release": self.release,
            "licence": self.licence,
        }
        (folder / "dataset.json").write_text(json.dumps(description, indent=1), encoding="utf-8")

    def volume(self, number: int) -> Volume:
        """Case ``number``, always the same."""
        rng = np.random.default_rng([self.seed, number])
        kinds = int(rng.integers(len(self.scanners))), int(rng.integers(len(ORGANS)))
        scanner, organ = self.scanners[kinds[0]], ORGANS[kinds[1]]
        shape = tuple(round(n * rng.uniform(0.95, 1.05)) for n in self.size)
        in_plane = float(round(scanner.spacing * rng.uniform(0.97, 1.03), 2))
        spacing = (float(round(rng.uniform(2.5, 3.5), 2)), in_plane, in_plane)
        image, label = Body(rng, shape, spacing).draw(scanner, organ)
        origin = tuple(float(round(value, 1)) for value in rng.uniform(-80, 80, 3))
        direction = (float(rng.choice([-1, 1])), 0.0, 0.0, 0.0, float(rng.choice([-1, 1])), 0.0, 0.0, 0.0, 1.0)
        return Volume(image, label, spacing[::-1], origin, direction, kinds)


@dataclass(frozen=True)
class Volume:
    """One synthetic case; arrays are ``(z, y, x)``, geometry is in millimetres and SimpleITK's order ``(x, y, z)``.

    Attributes:
        kinds: of scanner and organ, as their numbers.
    """

    image: np.ndarray
    label: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    kinds: tuple[int, int]

    def write(self, array: np.ndarray, path: Path) -> None:
        import SimpleITK as sitk

        volume = sitk.GetImageFromArray(array)
        volume.SetSpacing(self.spacing)
        volume.SetOrigin(self.origin)
        volume.SetDirection(self.direction)
        sitk.WriteImage(volume, str(path), useCompression=True)
