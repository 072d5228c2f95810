"""The cases that somebody names are cases of the dataset."""

from __future__ import annotations

from collections.abc import Iterable

from atso_bench.benchmark.reading.listed import few


def check_candidates(what: str, names: Iterable[str], among: Iterable[str], dataset: str) -> None:
    """Refuse names that are not among the candidates.

    Args:
        what: what the names are, for the message: ``labelled case(s)``.
        names: of cases.
        among: the candidates.
        dataset: whose they are.

    Raises:
        ValueError: naming those that are not.
    """
    candidates = set(among)
    if unknown := sorted(set(names) - candidates):
        raise ValueError(f"{what} {few(unknown, 8)} are not among {dataset}'s {len(candidates)} candidates")
