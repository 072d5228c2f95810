"""The GPUs of this machine, and why torch could not work with one."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One GPU, as CUDA shows it.

    Attributes:
        number: N of ``cuda:N``.
        name: the card's.
        memory: bytes.
        capability: major and minor number of what its processors can.
    """

    number: int
    name: str
    memory: int
    capability: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.name} ({self.memory / 1e9:.0f} GB, sm_{self.capability[0]}{self.capability[1]})"

    @property
    def trouble(self) -> str:
        """Why torch cannot compute on it, and what to do; empty if it can."""
        import torch

        codes = torch.cuda.get_arch_list()
        if not codes or any(_runs(code, self.capability) for code in codes):
            return ""
        return (
            f"torch {torch.__version__} has no code for cuda:{self.number}, {self}, but for {', '.join(codes)}; "
            "install a torch that has (pytorch.org, mostly one built for an older CUDA), or use --device cpu"
        )


def gpus() -> list[Gpu]:
    """All that torch can see; none where the driver does not suffice."""
    import torch

    if not torch.cuda.is_available():
        return []
    seen = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return [Gpu(number, gpu.name, gpu.total_memory, (gpu.major, gpu.minor)) for number, gpu in enumerate(seen)]


def driver() -> tuple[int, int] | None:
    """The newest CUDA that the driver can, as major and minor number; None where there is no driver."""
    version = ctypes.c_int()
    try:
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return None if failed or not version.value else (version.value // 1000, version.value % 1000 // 10)


def driver_trouble() -> str:
    """Why torch finds no GPU though there is a driver, and what to do; empty if that cannot be said."""
    import torch

    found, built = driver(), torch.version.cuda
    if found is None or built is None or int(built.partition(".")[0]) <= found[0]:
        return ""
    return (
        f"the NVIDIA driver can do CUDA {found[0]}.{found[1]}, torch {torch.__version__} was built for CUDA {built}; "
        "update the driver, install a torch built for an older CUDA (pytorch.org), or use --device cpu"
    )


def _runs(code: str, capability: tuple[int, int]) -> bool:
    """Whether compiled code (``sm_90``; ``compute_90``, which a driver translates) runs on such processors."""
    kind, digits = re.fullmatch(r"(\w+)_(\d+)[af]?", code).groups()  # type: ignore[union-attr]
    made = int(digits[:-1]), int(digits[-1])
    return made <= capability and (kind == "compute" or made[0] == capability[0])
