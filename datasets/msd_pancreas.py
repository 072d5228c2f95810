"""Pancreas of the Medical Segmentation Decathlon (Task 07)."""

from __future__ import annotations

from atso_bench.datasets._volumes.msd import MsdDataset


class MsdPancreas(MsdDataset):
    """281 labelled portal-venous CT volumes of patients with a pancreatic mass; pancreas and tumour."""

    name = "msd-pancreas"
    folder = "Dataset007_Pancreas"
    summary = "281 CT volumes, pancreas and tumour (MSD Task 07)"
    source = "http://medicaldecathlon.com (Task07_Pancreas.tar)"
    md5 = "4f7080cfca169fa8066d17ce6eb061e4"
