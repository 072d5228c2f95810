"""Hippocampus of the Medical Segmentation Decathlon (Task 04)."""

from __future__ import annotations

from atso_bench.datasets._volumes.msd import MsdDataset


class Hippocampus(MsdDataset):
    """260 labelled T1 MR volumes of about 36 x 50 x 35 voxels at 1 mm; anterior and posterior hippocampus."""

    name = "hippocampus"
    folder = "Dataset004_Hippocampus"
    summary = "260 small T1 MR volumes, anterior and posterior hippocampus (MSD Task 04)"
    source = "http://medicaldecathlon.com (Task04_Hippocampus.tar)"
    md5 = "9d24dba78a72977dbd1d2e110310f31b"
