"""Any dataset in nnU-Net's raw layout, by name or id."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from atso_bench.benchmark import places
from atso_bench.benchmark.reading.listed import few
from atso_bench.datasets._volumes.dataset import NnunetDataset
from atso_bench.datasets._volumes.msd import convert_msd

if TYPE_CHECKING:
    from atso_bench.datasets._shared.each import Say


class Nnunet(NnunetDataset):
    """A dataset of the user's own: ``Dataset004_Hippocampus``, ``004`` or ``4``, planned by nnU-Net or not.

    Args:
        name: name or id; an id is looked up among the folders in ``nnUNet_raw`` and in the data root.
        configuration: nnU-Net configuration, ``2d`` or ``3d_fullres``.
    """

    summary = "any dataset in nnU-Net's raw layout, by name or id"
    source = "nnU-Net's documentation/dataset_format.md describes the layout"

    def __init__(self, name: str = "", configuration: str = "2d") -> None:
        super().__init__(configuration)
        self.folder = self.name = self._resolve(str(name)) if name else ""

    def is_ready(self) -> tuple[bool, str]:
        if not self.folder:
            return False, "give the name or id of one, such as Dataset004_Hippocampus or 4"
        ready, hint = super().is_ready()
        return ready, hint if ready else f"put it there, or: atso-bench prepare {self.name} --from PATH ({self.source})"

    def prepare(self, source: Path | None = None, say: Say | None = None) -> list[str]:
        if not self.folder:
            raise ValueError(f"nnunet is not one dataset: {self.is_ready()[1]}")
        return super().prepare(source, say)

    def convert(self, source: Path, target: Path) -> None:
        convert_msd(source, target)

    def _resolve(self, name: str) -> str:
        """The folder's name.

        Raises:
            ValueError: if the name is malformed, or the id is ambiguous.
            FileNotFoundError: if no folder has this id.
        """
        if re.fullmatch(r"Dataset\d{3}_[\w.-]+", name):
            return name
        if not re.fullmatch(r"\d{1,3}", name):
            raise ValueError(f"a dataset must be named like Dataset004_Hippocampus, 004 or 4, got {name!r}")
        prefix = f"Dataset{int(name):03d}_"
        roots = [root for root in self._storage.raw if root.is_dir()]
        found = sorted({path.name for root in roots for path in root.iterdir() if path.name.startswith(prefix)})
        if len(found) > 1:
            raise ValueError(f"id {name} is ambiguous: {', '.join(found)}; give the name")
        if not found:
            there = f"; there are {few(names)}" if (names := places.own_volumes()) else ""
            raise FileNotFoundError(
                f"no {prefix}* in\n  {self._storage.looked}\nput it there, or import it under its full name{there}"
            )
        return found[0]
