"""The embedded dataset: synthetic volumes of an organ with lesions, made from a seed, so that nothing is downloaded."""

from __future__ import annotations

from atso_bench.datasets._drawn.body import SCANNERS
from atso_bench.datasets._drawn.volumes import DrawnVolumes


class Phantom(DrawnVolumes):
    """See ``DrawnVolumes``. Of the thirty pairs of scanner and organ, four or five labelled cases hold few.

    The unlabelled cases hold nearly all of them.
    """

    name = "phantom"
    summary = "synthetic volumes of an organ with lesions, made on this machine from a seed"
    seed, release, number = 20200317, "4", 900
    scanners = SCANNERS
