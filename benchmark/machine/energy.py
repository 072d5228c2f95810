"""Energy in joules, from the devices' own counters. Without a counter it is unknown, and never estimated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

POWERCAP = Path("/sys/class/powercap")
MOST_WATTS = 1000.0
"""More than a CPU package draws; it tells how long a counter surely takes from one beginning to the next."""
NVML_PERIOD, RAPL_PERIOD = 0.1, 0.001
"""Seconds after which a counter has surely moved; on GPUs it does so every 20 to 100 ms, by their kind."""


class UnmeasuredError(Exception):
    """No counter can be read; the message says why."""


@dataclass(frozen=True)
class Meter:
    """The energy counters of one device. They count all of its work, other processes' included.

    Attributes:
        source: what counts, for people.
        read: joules by counter since some moment in the past; raises ``UnmeasuredError``.
        ranges: joules after which each counter begins again at 0.
        period: seconds; a reading may be so old.
    """

    source: str
    read: Callable[[], list[float]]
    ranges: list[float]
    period: float = 0.0

    def drawn(self, before: list[float], after: list[float], seconds: float) -> float | None:
        """Joules between two readings; None if a counter may have begun again more than once in these seconds."""
        total = 0.0
        for first, last, full in zip(before, after, self.ranges, strict=True):
            if seconds * MOST_WATTS > full:
                return None
            total += last - first if last >= first else last - first + full
        return total if math.isfinite(total) else None


def meter(device: torch.device) -> Meter:
    """The counters of a CUDA device, or of all CPU packages of this machine.

    Raises:
        UnmeasuredError: if there is none, or this user may not read it.
    """
    return _nvml(device) if device.type == "cuda" else _rapl()


def _nvml(device: torch.device) -> Meter:
    """NVML's counter, which GPUs have since Volta."""
    try:
        import pynvml
    except ImportError:
        raise UnmeasuredError("nvidia-ml-py is not installed") from None
    try:
        pynvml.nvmlInit()
        import torch

        # NVML counts all GPUs of the machine, torch those of CUDA_VISIBLE_DEVICES; a part of a GPU (MIG) has no counter
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except pynvml.NVMLError as error:
        raise UnmeasuredError(f"NVML: {error}") from error

    def read() -> list[float]:
        try:
            return [pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3]  # it counts millijoules
        except pynvml.NVMLError as error:
            raise UnmeasuredError(f"NVML: {error}") from error

    read()
    return Meter("NVML", read, [math.inf], NVML_PERIOD)


def _rapl() -> Meter:
    """RAPL's counters by Linux's powercap, on Intel's and AMD's CPUs; mostly root alone may read them."""
    try:
        zones = [zone for zone in sorted(POWERCAP.glob("intel-rapl:*")) if _text(zone / "name").startswith("package")]
        # a zone within a package (cores, graphics) counts what its package counts too, and so does psys
        ranges = [float(_text(zone / "max_energy_range_uj")) / 1e6 for zone in zones]
    except ValueError as error:
        raise UnmeasuredError(f"RAPL: {error}") from error
    if not zones:
        raise UnmeasuredError(f"no RAPL package under {POWERCAP}")

    def read() -> list[float]:
        try:
            return [float(_text(zone / "energy_uj")) / 1e6 for zone in zones]
        except ValueError as error:
            raise UnmeasuredError(f"RAPL: {error}") from error

    read()
    return Meter(f"RAPL, {len(zones)} package{'s' * (len(zones) != 1)}", read, ranges, RAPL_PERIOD)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise UnmeasuredError(f"{file}: {error.strerror}") from error
