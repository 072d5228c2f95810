"""Names of engines; asking for them imports none."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

OURS = {name: f"atso_bench.benchmark.engines.{name}" for name in ("slurm", "ray")}
GROUP = "atso_bench.engines"
"""The entry points by which other packages bring engines."""


def others() -> dict[str, EntryPoint]:
    """Engines of other packages."""
    return {found.name: found for found in entry_points(group=GROUP)}


def check_name(name: str) -> None:
    """Refuse a name that no engine has.

    Raises:
        LookupError: naming those that there are.
    """
    there = ["local", *OURS, *others()]
    if name not in there:
        raise LookupError(f"--on {name}: there is no such engine; available: {', '.join(there)}")
