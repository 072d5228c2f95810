"""The tables of one comparison: scores, classes of volumes, time and memory, lazy mimicking; what the runs share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from atso_bench.benchmark.scoring.headline import DICE, Metric
from atso_bench.benchmark.spec import LabelFraction, digest
from atso_bench.reports.certainty.intervals import Estimate
from atso_bench.reports.data.frame import Group, headline
from atso_bench.reports.data.means import mean
from atso_bench.reports.data.rows import BASELINE, BY_CLASS, LEARNING, RATES
from atso_bench.reports.pages.page import Cell, Table
from atso_bench.reports.words import ALIKE, NONE, decimals, gibibytes, plain, ranges, seconds, shared

FOLDS = (
    "{}; every labelled case was in the test set of one fold, and its score is that of the model that did not learn "
    "from it. A run is all folds of a seed: folds are no seeds, and times are those of all folds together"
)
UNITS = {"dice": "Dice", "nsd": "NSD", "hd95_mm": "HD95 (mm)", "assd_mm": "ASSD (mm)"}


def part(group: Group) -> str:
    """The test set, or the validation set where somebody tuned: such scores are no results."""
    if group.facts["folds"]:
        return f"the test sets of {group.facts['folds']} folds"
    return "the test set" if group.facts["scored"] == "test" else "the validation set"


@lru_cache(maxsize=2**12)
def records_of(comparison: str, fraction: str, label: str) -> str:
    """The anchor of the records that a cell of the table of scores is the mean of."""
    return f"records-{digest([comparison, fraction, label])}"


# Scores


def scores(group: Group, estimates: Mapping[tuple[str, str], Estimate] | None = None) -> Table:
    """Methods by label fractions: mean and sample standard deviation over seeds, the best mean of a column in bold.

    An estimate's interval stands beside a mean where it is one of that mean: with undefined cases it may not be.
    """
    known = estimates or {}
    best = {}
    for fraction in group.fractions:
        column = [mean for mean in group.means_at(fraction).values() if not math.isnan(mean)]
        best[fraction] = group.metric.best(column) if len(column) > 1 else math.nan
    found = {(label, fraction): runs["score"] for (fraction, label), runs in group.cells.items()}
    rows = []
    for label in group.labels:
        row = [Cell(label)]
        for fraction in group.fractions:
            if (label, fraction) in found:
                cell = spread(found[label, fraction], best[fraction], known.get((fraction, label)), group.metric)
                row.append(replace(cell, link=f"#{records_of(group.name, fraction, label)}"))
            else:
                row.append(Cell(NONE))
        rows.append(row)
    upper = set(group.runs.loc[group.runs.upper, "fraction"])
    heads = [f"{head}, upper bound: {BASELINE}" if text in upper else head for text, head in group.fractions.items()]
    return Table(f"{headline(group)} on {part(group)}, mean ± standard deviation over seeds", ["method", *heads], rows)


def spread(values: pd.Series, best: float = math.nan, known: Estimate | None = None, metric: Metric = DICE) -> Cell:
    """Mean and sample standard deviation over runs; what is undefined is left out and counted."""
    defined = values.dropna()
    middle, spread = mean(defined), defined.std(ddof=1)
    text = decimals(middle) if math.isnan(spread) else f"{decimals(middle)} ± {decimals(spread)}"
    undefined = len(values) - len(defined)
    note = f"n = {len(defined)}" + (f", {undefined} undefined" if undefined else "")
    if known is not None and not known.reason and abs(known.mean - middle) < ALIKE:
        note += f", {decimals(metric.held(known.low))} to {decimals(metric.held(known.high))}"
    return Cell(text, note, strong=middle == best)


def cautions(group: Group) -> list[str]:
    """What a reader of the table of scores has to know, and can only know from the records."""
    said = []
    runs = group.runs
    for fraction, head in group.fractions.items():
        part = runs[runs.fraction == fraction]
        own = {label: group.cells[fraction, label] for label in group.labels if (fraction, label) in group.cells}
        seeds = {label: ranges(cell["seed"].tolist()) for label, cell in own.items()}
        if len(set(seeds.values())) > 1:
            each = "; ".join(f"{label}: {text}" for label, text in seeds.items())
            said.append(f"At {head}, the methods used different seeds ({each}).")
        for seed, rows in part.groupby("seed"):
            if rows["split"].nunique() > 1:
                said.append(f"At {head}, seed {seed}, the methods used different splits: do not compare them.")
    commits = sorted({commit.rstrip("+")[:10] + "+" * commit.endswith("+") for commit in runs["commit"] if commit})
    if len(commits) > 1:
        said.append(f"The runs come from {len(commits)} versions of the code: {', '.join(commits)}.")
    return said


def classes(group: Group) -> Table:
    """Per class: mean over the cases of a run, then over seeds; what is undefined is left out and counted."""
    place = ["class", "fraction", "label"]
    metrics = list(UNITS)
    scores = group.scores
    means = scores.groupby([*place, "key"], observed=True)[metrics].mean().groupby(place, observed=True).mean()
    together = [scores[name] for name in place]
    undefined: dict[Any, Any] = scores[metrics].isna().groupby(together, observed=True).sum().to_dict("index")
    empty = scores.groupby([*place, "empty"], observed=True).size().to_dict()
    counted = scores.groupby(place, observed=True).size().to_dict()
    known: dict[Any, Any] = means.to_dict("index")
    rows = []
    for name in group.facts["classes"]:
        for fraction, label in group.cells:
            at = (name, fraction, label)
            row = [Cell(name), Cell(group.fractions[fraction]), Cell(label)]
            row += [_class_score(known.get(at, {}), undefined.get(at, {}), metric) for metric in metrics]
            row += [Cell(f"{counted.get(at, 0):,}")]
            row += [Cell(f"{empty.get((*at, kind), 0):,}") for kind in ("prediction", "reference", "both")]
            rows.append(row)
    heads = ["class", "label fraction", "method", *UNITS.values()]
    kinds = ["empty prediction", "empty reference", "both empty"]
    return Table("Scores by class, mean over cases and seeds", [*heads, "case scores", *kinds], rows, words=3)


def _class_score(means: Mapping[str, float], undefined: Mapping[str, int], metric: str) -> Cell:
    missing = undefined.get(metric, 0)
    text = decimals(means.get(metric, math.nan), 2 if metric.endswith("_mm") else 3)
    return Cell(text, f"{missing} undefined" if missing else "")


# Time and memory


def has_energy(group: Group) -> bool:
    """Whether anything was measured of what the table counts: a counter is too slow for an evaluation's pauses."""
    return bool(group.phases.loc[group.phases["kind"].isin(LEARNING), "joules"].notna().any())


def has_processor(group: Group) -> bool:
    """Whether any phase of what the table counts has its processor time; older records have none."""
    return bool(group.phases["cpu_seconds"].notna().any())


def costs(group: Group) -> Table:
    """Seconds by kind of phase, speed, peak memory and what was spent, mean over seeds (memory: the largest)."""
    kinds = {"train": "train (s)", "predict": "pseudo labels (s)", "evaluate": "evaluate (s)"}
    machines = group.runs["machine"].nunique() > 1
    energy, processor = has_energy(group), has_processor(group)
    place = ["fraction", "label", "machine"]
    runs = group.runs.groupby(place)[["line", "spent", "teacher_patches"]].mean().to_dict("index")
    amount = group.runs.groupby(place).size()
    phases = group.phases.merge(group.runs[["key", "machine"]], on="key")
    largest = phases.groupby(place)[["process_bytes", "device_bytes"]].max().to_dict("index")
    shared = phases.groupby(place)["reused"].agg(["sum", "size"]).to_dict("index")
    sums = _sums(phases, [*place, "kind"], ["seconds", "samples", "steps"]).to_dict("index")
    counted = phases[phases["kind"].isin(kinds)]
    joules = _sums(counted[counted["kind"].isin(LEARNING)], place, ["joules"])["joules"].to_dict()
    busy = _sums(counted, place, ["cpu_seconds"])["cpu_seconds"].to_dict()
    by_run = _sums(counted, [*place, "key"], ["seconds"])["seconds"].groupby(place)
    least, most = by_run.min().to_dict(), by_run.max().to_dict()
    nothing = {"seconds": 0.0, "samples": 0.0, "steps": 0.0}
    rows = []
    for (fraction, label), all_runs in group.cells.items():
        for machine in sorted(set(all_runs["machine"])):
            at = (fraction, label, machine)
            by_kind = {kind: sums.get((*at, kind), nothing) for kind in (*kinds, "diagnose")}
            train, each = by_kind["train"], int(amount[at])
            row = [Cell(group.fractions[fraction]), Cell(label), *([Cell(machine)] if machines else [])]
            row += [Cell(seconds(by_kind[kind]["seconds"] / each)) for kind in kinds]
            together = seconds(sum(by_kind[kind]["seconds"] for kind in kinds) / each)
            # seeds do the same steps, so their seconds differ by what else the machine did
            ends = [seconds(extreme.get(at, math.nan)) for extreme in (least, most)]
            row += [Cell(together, " to ".join(ends) if together != NONE and ends[0] != ends[1] else "")]
            row += [Cell(seconds(busy.get(at, math.nan) / each))] if processor else []
            row += [Cell(seconds(by_kind["diagnose"]["seconds"] / each))]
            row += [Cell(decimals(joules.get(at, math.nan) / each / 1000, 2))] if energy else []
            rates = (train[name] / train["seconds"] if train["seconds"] else math.nan for name in ("steps", "samples"))
            row += [Cell(decimals(rate, 1)) for rate in rates]
            memory = largest.get(at, {})
            row += [Cell(gibibytes(float(memory.get(name, math.nan)))) for name in ("process_bytes", "device_bytes")]
            row += [Cell(decimals(runs[at]["line"] or math.nan, 0))]  # older records do not say
            row += [Cell(decimals(runs[at][name], 0)) for name in ("spent", "teacher_patches")]
            row += [Cell(decimals(by_kind["predict"]["samples"] / each, 0))]
            reused = shared.get(at, {"sum": 0, "size": 0})
            row += [Cell(f"{int(reused['sum'])} of {int(reused['size'])}")]
            rows.append(row)
    words = ["label fraction", "method", *(["machine"] if machines else [])]
    times = [
        *kinds.values(),
        "together (s)",
        *(["processor (s)"] if processor else []),
        "diagnostics (s)",
        *(["train and label (kJ)"] if energy else []),
    ]
    times += ["steps/s", "samples/s"]
    rest = ["process (GiB)", "device (GiB)", "steps of the result", "steps spent", "teacher patches"]
    rest += [f"pseudo-labelled {group.case}s", "shared phases"]
    return Table("Time and memory of a run, mean over seeds", [*words, *times, *rest], rows, words=len(words))


def saved(group: Group) -> str:
    """What it saved that runs share phases, in a sentence; empty where they share none."""
    known = group.phases[group.phases["stage"] != ""].sort_values("reused", kind="stable")
    again = known["reused"].astype(bool) & known.duplicated("stage")  # a run that goes on finds its own phases too
    together, spared = group.phases["seconds"].sum(), known.loc[again, "seconds"].sum()
    if not spared:
        return ""
    amount = f"{decimals(spared, 1)} of the {decimals(together, 1)} seconds ({100 * spared / together:.0f} %)"
    return f"Shared phases were computed once, not once per run. This saved {amount}."


def _sums(phases: pd.DataFrame, place: list[str], names: list[str]) -> pd.DataFrame:
    """By place; NaN where any part is undefined, for a sum of the rest would be too small."""
    together = phases.groupby(place)[names]
    return together.sum().where(together.count().eq(together.size(), axis=0))


# Lazy mimicking


def mimicking(group: Group) -> Table:
    """Each pseudo-labelling, mean over seeds; a dash where a rate was not measured."""
    teachers = bool((group.diagnostics["teacher"] != "").any())
    place = ["fraction", "label", "generation", "subset", "phase", "teacher"]
    steps = group.diagnostics.groupby(place, sort=False)
    filtered = bool(group.diagnostics["coverage"].notna().any())  # some pseudo labels lack voxels
    shown = [name for name in RATES if filtered or name != "coverage"]
    means: dict[Any, Any] = steps[["cases", *RATES]].mean().to_dict("index")
    seeds = steps["key"].nunique()
    classes = {name: _by_class(group, place, name) for name in BY_CLASS}
    of_cell: dict[tuple[str, str], list[tuple]] = {}
    for step in means:
        of_cell.setdefault(step[:2], []).append(step)
    rows = []
    for fraction, label in group.cells:
        for step in sorted(of_cell.get((fraction, label), []), key=lambda step: _natural(step[2:])):
            generation, subset, phase, teacher = step[2:]
            row = [Cell(group.fractions[fraction]), Cell(label), Cell(str(phase) or _moment(generation, subset))]
            row += [Cell(str(teacher) or NONE)] if teachers else []
            row += [Cell(decimals(means[step]["cases"], 0))]
            row += [Cell(decimals(means[step][name]), classes.get(name, {}).get(step, "")) for name in shown]
            row += [Cell(str(seeds[step]))]
            rows.append(row)
    words = ["label fraction", "method", "student", *(["teacher"] if teachers else [])]
    score = headline(group)
    rates = ["update rate", *(f"agreement{where} ({score})" for where in ("", " inside", " outside"))]
    rates += [f"pseudo-label {score}", "corrected", "corrupted", *(["labelled"] if filtered else [])]
    heads = [*words, f"{group.case}s", *rates, "seeds"]
    return Table("Every pseudo-labelling, mean over seeds", heads, rows, words=len(words))


def _by_class(group: Group, place: list[str], rate: str) -> dict[tuple, str]:
    """The classes of each step one by one, where there are some and not too many for a cell."""
    values = group.classes[group.classes["rate"] == rate]
    column, classes = pd.factorize(values["class"])
    if not 1 < len(classes) < 5:
        return {}
    row, entries = pd.factorize(pd.MultiIndex.from_frame(values[["key", "entry"]]))
    known = np.full((len(entries), len(classes)), np.nan)
    known[row, column] = values["value"]
    steps = group.diagnostics.set_index(["key", "entry"]).loc[entries, place].reset_index(drop=True)
    means = pd.DataFrame(known).groupby([steps[name] for name in place], sort=False).mean()
    return {
        step: ", ".join(f"{name} {decimals(value)}" for name, value in zip(classes, row, strict=True))
        for step, row in zip(means.index, means.to_numpy().tolist(), strict=True)
    }


def _moment(generation: object, subset: object) -> str:
    if generation == "":
        return NONE
    return f"generation {generation}" + (f", subset {subset}" if subset != "" else "")


def _natural(values: tuple) -> list[tuple[int, float, str]]:
    return [(0, float(value), "") if isinstance(value, Real) else (1, 0.0, str(value)) for value in values]


def _case_lists(group: Group) -> str:
    published = [facts for facts in [group.facts["lists"]] if facts]
    if any(LabelFraction(text).listed for text in group.fractions):
        published.append("labelled cases, where the column says so")
    return f"published: {'; '.join(published)}" if published else "drawn"


def summary(group: Group) -> dict[str, Cell]:
    """What the runs of a comparison have in common, and what varies."""
    facts, runs = group.facts, group.runs
    parity = facts["parity"]
    recipe = "; ".join(f"{name} {plain(value)}" for name, value in sorted(facts["recipe"].items()))
    said = {
        "dataset": facts["dataset"],
        "methods": ", ".join(group.labels),
        "label fractions": ", ".join(group.fractions.values()),
        "seeds": ranges(runs["seed"].tolist()),
        "runs": f"{len(runs):,}",
        "budget": f"{facts['steps']:,} steps {shared(parity)} (parity: {parity}; budget: {facts['budget']})",
        "configuration": facts["configuration"],
        "recipe": recipe or NONE,
        "score": f"{headline(group)}, classes: {', '.join(facts['classes'])} (definitions: version {facts['metrics']})",
        "scored on": f"{part(group)}, {ranges(runs['cases'].tolist())} {group.case}s",
        "test set": facts["test"],
        "validation set": f"{facts['validation']:g} % of the pool" if facts["validation"] else "none drawn",
        "case lists": _case_lists(group),
        **({"split by": facts["split_by"]} if facts["split_by"] else {}),
        **({"folds": FOLDS.format(facts["folds"])} if facts["folds"] else {}),
        "data": facts["data"] or NONE,
    }
    cells = {name: Cell(text) for name, text in said.items()}
    return cells | ({"protocol": protocol} if (protocol := _protocol(group)) else {})


def _protocol(group: Group) -> Cell | None:
    """The published protocol with every difference of every run; None where no run names one.

    Steps, for one, differ by other amounts at other label fractions: such a difference says where it holds.
    """
    protocols = {text: group.runs.loc[group.runs.fraction == text, "protocol"] for text in group.fractions}
    named = {text: [each for each in found if each] for text, found in protocols.items()}
    names = dict.fromkeys(
        f"{each['name']} ({each['source']})" if each["source"] else each["name"]
        for found in named.values()
        for each in found
    )
    if not names:
        return None
    where: dict[str, list[str]] = {}
    for fraction, found in named.items():
        for text in dict.fromkeys(text for each in found for text in each["differs"]):
            where.setdefault(text, []).append(group.fractions[fraction])
    items = [
        text if len(heads) == len(group.fractions) else f"{text} (at {', '.join(heads)})"
        for text, heads in where.items()
    ]
    followed = "the runs differ from it in:" if items else "the runs note no difference from it."
    return Cell(f"{'; '.join(names)}; {followed}", items=items)
