"""What ``--device`` names: the processes of a grid, by the device of each."""

from __future__ import annotations

import re
from collections.abc import Sequence

from atso_bench.benchmark.machine.gpus import driver_trouble, gpus

_NAMED = re.compile(r"(cpu|cuda(?::\d+)?)(?:\*([1-9]\d?))?")


def devices(text: str) -> list[str]:
    """The device of each process: ``auto`` is every GPU, or the CPU where there is none; ``cuda:0*4`` is four.

    Raises:
        ValueError: if it names nothing, or a GPU that is not there or of no use to torch.
    """
    named = words(text)
    if named == ["auto"]:
        return _every()
    _check([name for name in dict.fromkeys(named) if name != "cpu"])
    return named


def words(text: str) -> list[str]:
    """What the text names, whether it is there or not: ``auto``, or the device of each process.

    Raises:
        ValueError: if it has another form.
    """
    given = [word.strip() for word in text.split(",") if word.strip()]
    if given == ["auto"]:
        return given
    found = [match for word in given if (match := _NAMED.fullmatch(word))]
    if not found or len(found) < len(given):
        raise ValueError(
            "--device must be auto, cpu, cuda or cuda:N, several with commas, one for several processes with a star "
            f"(cuda:0*4), got {text!r}"
        )
    return [match[1] for match in found for _ in range(int(match[2] or 1))]


def sharing(named: Sequence[str], device: str) -> int:
    """How many of the processes work on this GPU at once; the CPU's have their own share of its cores."""
    return 1 if device == "cpu" else sum(_number(name) == _number(device) for name in named if name != "cpu")


def _every() -> list[str]:
    found = gpus()
    usable = [f"cuda:{gpu.number}" for gpu in found if not gpu.trouble]
    if trouble := "" if usable else found[0].trouble if found else driver_trouble():
        raise ValueError(f"--device auto: {trouble}")  # a CPU in its place would take weeks, without a word
    return usable or ["cpu"]


def _check(named: Sequence[str]) -> None:
    found = {gpu.number: gpu for gpu in gpus()} if named else {}
    for name in named:
        gpu = found.get(_number(name))
        if gpu is None or gpu.trouble:
            raise ValueError(f"--device {name}: {gpu.trouble if gpu else _absent(len(found))}")


def _absent(there: int) -> str:
    import torch

    return driver_trouble() or f"torch {torch.__version__} finds {there} CUDA devices; see `atso-bench doctor`"


def _number(name: str) -> int:
    return int(name.partition(":")[2] or "0")
