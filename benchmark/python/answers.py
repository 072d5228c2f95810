"""What the Python functions return: tables of pandas, and pages for notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atso_bench.benchmark import scores
from atso_bench.benchmark.machine.progress import duration
from atso_bench.benchmark.store.record import Record

if TYPE_CHECKING:
    import pandas as pd

    from atso_bench.benchmark.forecast.plan import Forecast
    from atso_bench.reports.verdict import Verdict

_ABOUT = ("dataset", "configuration", "method", "fraction", "seed", "validation", "scored")


@dataclass(frozen=True, repr=False)
class Results:
    """Finished runs of a results folder.

    Attributes:
        folder: the results folder.
        records: everything about each run (docs/record.md), in the order of the grid.
        failures: what went wrong, by the titles of the runs that failed.
    """

    folder: Path
    records: tuple[Record, ...]
    failures: Mapping[str, str]

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"<{len(self.records)} runs in {self.folder}{failed}>"

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def frame(self) -> pd.DataFrame:
        """A row for each run: what was run, its ``score`` (0 to 1) by its ``metric``, ``seconds`` and ``key``.

        ``options`` are the method's that differ from their defaults; ``labelled`` counts labelled cases.
        """
        import pandas as pd

        return pd.DataFrame([_row(record) for record in self.records])

    def cases(self) -> pd.DataFrame:
        """A row for each run, case and class, with every score (docs/metrics.md); ``key`` is the run's."""
        import pandas as pd

        rows = [
            {
                "key": record.spec.key,
                "method": record.spec.method,
                "seed": record.spec.seed,
                "case": case,
                "class": name,
            }
            | dict(values)
            for record in self.records
            for case, classes in record.cases.items()
            for name, values in classes.items()
        ]
        return pd.DataFrame(rows)

    def summary(self) -> pd.DataFrame:
        """Mean, standard deviation over seeds and number of runs, for each dataset, method, options and fraction."""
        frame = self.frame()
        if frame.empty:
            return frame
        by = ["dataset", "method", "options", "fraction", "steps", "metric"]
        named = frame.assign(options=[scores.options(record.spec) for record in self.records])
        return named.groupby(by, sort=False)["score"].agg(["mean", "std", "count"]).reset_index()

    def report(self, where: str = "") -> Path:
        """Write the report of the whole folder; returns its ``index.html``.

        Args:
            where: take some runs alone, as ``atso-bench report --where`` does.
        """
        from atso_bench.reports.build import build

        return build(self.folder, where)

    def _repr_html_(self) -> str:
        failed = "".join(f"<li>{html.escape(title)}: {html.escape(said)}</li>" for title, said in self.failures.items())
        table = self.summary().to_html(index=False, float_format="{:.4f}".format) if self.records else ""
        runs = f"<p>{len(self.records)} runs in {html.escape(str(self.folder))}</p>"
        return runs + table + (f"<p>failed:</p><ul>{failed}</ul>" if failed else "")


@dataclass(frozen=True, repr=False)
class Plan:
    """What a grid would take on one device.

    Attributes:
        device: the device on which a little of each kind of work was timed.
        forecasts: one for each run.
    """

    device: str
    forecasts: tuple[Forecast, ...]

    def __repr__(self) -> str:
        return f"<plan of {len(self.forecasts)} runs: {duration(self.seconds)} on one {self.device} device>"

    @property
    def seconds(self) -> float:
        """Of all runs together; phases that runs share count once."""
        return sum({key: each for found in self.forecasts for key, each in found.seconds.items()}.values())

    def frame(self) -> pd.DataFrame:
        """A row for each run: ``done``, ``seconds``, ``steps``, ``process_bytes``, ``device_bytes``."""
        import pandas as pd

        return pd.DataFrame([found.facts() for found in self.forecasts]).drop(columns="phases")

    def _repr_html_(self) -> str:
        total = f"<p>{duration(self.seconds)} on one {html.escape(self.device)} device</p>"
        shown = self.frame()[["run", "done", "seconds", "steps", "process_bytes", "device_bytes"]]
        return total + str(shown.to_html(index=False, float_format="{:.1f}".format))


@dataclass(frozen=True, repr=False)
class Scores:
    """Scores of segmentations against true ones.

    Attributes:
        cases: case -> class -> scores (docs/metrics.md).
        notes: what had to be assumed, and what is odd.
    """

    cases: Mapping[str, Mapping[str, Mapping[str, Any]]]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<scores of {len(self.cases)} cases>"

    def frame(self) -> pd.DataFrame:
        """A row for each case and class."""
        import pandas as pd

        rows = [{"case": case, "class": name} | dict(of) for case, by in self.cases.items() for name, of in by.items()]
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>note: {html.escape(note)}</p>" for note in self.notes)
        return str(self.frame().to_html(index=False, float_format="{:.4f}".format)) + notes


@dataclass(frozen=True, repr=False)
class Comparison:
    """What became worse between two results folders.

    Attributes:
        verdict: cell by cell, with reasons and notes.
    """

    verdict: Verdict

    @property
    def code(self) -> int:
        """0: nothing is worse; 1: something is, beyond tolerance and noise; 2: not comparable."""
        return self.verdict.code

    def frame(self) -> pd.DataFrame:
        """A row for each method and label fraction."""
        import pandas as pd

        return pd.DataFrame([{**vars(each), "change": each.change} for each in self.verdict.differences])

    def __repr__(self) -> str:
        return f"<comparison of {len(self.verdict.differences)} cells, code {self.code}>"

    def __str__(self) -> str:
        from atso_bench.reports.verdict import lines

        return "\n".join(lines(self.verdict))

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _row(record: Record) -> dict[str, Any]:
    spec = record.spec
    return {
        **{name: getattr(spec, name) for name in _ABOUT},
        "options": dict(spec.options),
        "steps": spec.budget.steps,
        "parity": spec.budget.parity,
        "labelled": len(record.split["labelled"]),
        "metric": record.metric,
        "score": record.score,
        "seconds": sum(record.seconds.values()),
        "key": spec.key,
    }
