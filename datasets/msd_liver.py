"""Liver of the Medical Segmentation Decathlon (Task 03)."""

from __future__ import annotations

from atso_bench.datasets._volumes.msd import MsdDataset


class MsdLiver(MsdDataset):
    """131 labelled contrast-enhanced CT volumes; liver and tumour (the LiTS challenge's training cases)."""

    name = "msd-liver"
    folder = "Dataset003_Liver"
    summary = "131 CT volumes, liver and tumour (MSD Task 03)"
    source = "http://medicaldecathlon.com (Task03_Liver.tar)"
    md5 = "a90ec6c4aa7f6a3d087205e23d4e6397"
