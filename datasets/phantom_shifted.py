"""The embedded dataset as other scanners show it, to adapt to: ``--source phantom --dataset phantom-shifted``."""

from __future__ import annotations

from atso_bench.datasets._drawn.body import Scanner
from atso_bench.datasets._drawn.volumes import DrawnVolumes


class PhantomShifted(DrawnVolumes):
    """The organs of ``phantom`` in scanners with less contrast, more bias, noise and blur, and larger voxels."""

    name = "phantom-shifted"
    summary = "the phantom's organs as other scanners show them; for transfer, with --source phantom"
    seed, release, number = 20200319, "1", 902
    scanners = (
        Scanner(contrast=28, bias=0.45, noise=7, blur=1.0, spacing=1.1),
        Scanner(contrast=34, bias=0.35, noise=10, blur=0.8, spacing=1.15),
        Scanner(contrast=24, bias=0.40, noise=5, blur=1.2, spacing=1.2),
    )
