"""The gate: two results folders side by side. What became worse, what only seems to, and what cannot be compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from atso_bench.benchmark.scoring.headline import Metric
from atso_bench.benchmark.spec import digest
from atso_bench.reports.data import frame
from atso_bench.reports.data.columns import spelled
from atso_bench.reports.data.frame import Frames, Group, read
from atso_bench.reports.data.means import mean
from atso_bench.reports.data.rows import BASELINE
from atso_bench.reports.verdict import Difference, Verdict
from atso_bench.reports.words import count, plain, seconds, shared

TOLERANCE = 0.01
"""Of a Dice or mIoU between 0 and 1."""
SIDES = ("baseline", "candidate")
ROUNDING = 1e-9
"""What sums of floats may add to a difference that is the tolerance itself."""
RUN = ["comparison", "method", "asked", "fraction", "seed"]
"""What makes a run of one folder the same run in the other."""
NAMED = {"test": "test set", "data": "data", "metrics": "version of the metrics", "lists": "case lists"}


def compare(baseline: Path, candidate: Path, *, tolerance: float = TOLERANCE) -> Verdict:
    """Hold the candidate's records against the baseline's, run by run.

    Runs are matched by what a comparison must have in common (``Group.facts``), method and the options asked for, label
    fraction and seed. All that the baseline holds has to be there; what only the candidate has is noted.

    Raises:
        ValueError: if a folder holds neither a record nor a failure, or the tolerance is no share of a score.
    """
    if not 0 <= tolerance < 1:
        raise ValueError(f"the tolerance is a difference of scores, at least 0 and below 1, got {tolerance}")
    old, new = read(baseline), read(candidate)
    reasons = [*_unreadable("baseline", old), *_unreadable("candidate", new)]
    reasons += [f"the {side} has no finished run" for side, it in zip(SIDES, (old, new), strict=True) if it.runs.empty]
    if old.runs.empty or new.runs.empty:
        return Verdict(baseline, candidate, tolerance, (), tuple(reasons), ())
    before, after = _asked(old.runs), _asked(new.runs)
    all_pairs = _once(before).merge(_once(after), on=RUN, how="outer", suffixes=("_old", "_new"), indicator="found")
    groups = old.groups()
    titles = _titles(groups)
    reasons += [*_missing(all_pairs, groups, titles, new), *_other_splits(all_pairs)]
    pairs = all_pairs[(all_pairs["found"] == "both") & (all_pairs["split_old"] == all_pairs["split_new"])]
    pairs = pairs.reset_index(drop=True)
    pairs["equal"] = _equal(pairs, old, new)
    differences: list[Difference] = []
    notes = [*_twice("baseline", before), *_twice("candidate", after)]
    for group in groups:
        for name, labels, runs in _cells(group, pairs[pairs["comparison"] == group.name]):
            differences.append(_difference(group, titles[group.name], name, labels, runs, tolerance))
            notes += _remarks(differences[-1], runs, tolerance, group.metric)
    for group in groups:
        notes += _times(titles[group.name], pairs[pairs["comparison"] == group.name], old, new)
    notes += [*_only_now(all_pairs), *_changes(pairs)]
    return Verdict(baseline, candidate, tolerance, tuple(differences), tuple(reasons), tuple(notes))


# Matching


def _asked(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with what was asked of their method."""
    return runs.assign(asked=[digest(options) for options in runs["overrides"]])


def _once(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.drop_duplicates(RUN)


def _twice(side: str, runs: pd.DataFrame) -> list[str]:
    twice = runs[runs.duplicated(RUN)]
    return [f"the {side} has {run['title']} twice; {run['path']} is left out" for run in twice.to_dict("records")]


def _unreadable(side: str, frames: Frames) -> list[str]:
    return [f"{side}: {each.message}" for each in frames.failures if each.phase.startswith("reading")]


def _missing(pairs: pd.DataFrame, groups: list[Group], titles: dict[str, str], new: Frames) -> Iterator[str]:
    """What the baseline has and the candidate lacks: whole comparisons with the facts that differ, then single runs."""
    others = {other.name: other for other in new.groups()}
    failed = {each.run: f", where it failed: {each.message}" for each in new.failures}
    for group in groups:
        if group.name not in others:
            why = next((failed[title] for title in group.runs["title"] if title in failed), "")
            yield f"{titles[group.name]}: {_nearest(group, others.values())}{why}"
    for run in pairs[pairs["found"] == "left_only"].to_dict("records"):
        if run["comparison"] in others:
            what = f"{run['title_old']}{_with(run['overrides_old'])}"
            yield f"{what} is missing from the candidate{failed.get(run['title_old'], '')}"


def _other_splits(pairs: pd.DataFrame) -> list[str]:
    """Runs on the same test set that learnt from other cases."""
    both = pairs[(pairs["found"] == "both") & (pairs["split_old"] != pairs["split_new"])]
    what = "different labelled, unlabelled or validation cases"
    return [
        f"{run['title_old']}: {what} (split {run['split_old']}, now {run['split_new']})"
        for run in both.to_dict("records")
    ]


def _nearest(group: Group, others: Iterable[Group]) -> str:
    """How the candidate's nearest comparison on the same dataset differs from this one."""
    mine = _flat(group.facts)
    found = []
    for other in others:
        if other.facts["dataset"] == group.facts["dataset"]:
            theirs = _flat(other.facts)
            names = [name for name in {**mine, **theirs} if mine.get(name, ...) != theirs.get(name, ...)]
            said = [f"{name} {_value(mine, name)}, now {_value(theirs, name)}" for name in names]
            found.append((len(said), "; ".join(said)))
    if not found:
        return "the candidate has no run on this dataset"
    return f"the candidate has no such comparison; its nearest differs in {min(found)[1]}"


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    recipe = {f"recipe.{name}": value for name, value in facts["recipe"].items()}
    return {NAMED.get(name, name): value for name, value in facts.items() if name != "recipe"} | recipe


def _value(facts: dict[str, Any], name: str) -> str:
    return (plain(facts[name]) or "none") if name in facts else "absent"


def _only_now(pairs: pd.DataFrame) -> list[str]:
    titles = sorted(
        f"{run['title_new']}{_with(run['overrides_new'])}"
        for run in pairs[pairs["found"] == "right_only"].to_dict("records")
    )
    if not titles:
        return []
    rest = f" and {len(titles) - 3:,} more" if len(titles) > 3 else ""
    return [f"only the candidate has {count(len(titles), 'run')}: {'; '.join(titles[:3])}{rest}"]


# Judging


def _cells(group: Group, pairs: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Method, label fraction and runs of each cell: few labelled cases before many, the baseline method first."""
    order = list(group.fractions)
    found = [
        (order.index(str(fraction)), method != BASELINE, str(method), runs.sort_values("seed"))
        for (fraction, method, _), runs in pairs.groupby(["fraction", "method", "asked"])
    ]
    for place, _, method, runs in sorted(found, key=lambda cell: cell[:3]):
        yield f"{method}{_with(runs['overrides_old'].iloc[0])}", group.fractions[order[place]], runs


def _difference(group: Group, title: str, method: str, labels: str, runs: pd.DataFrame, tolerance: float) -> Difference:
    before, after = runs["score_old"], runs["score_new"]
    lost, gained = before.notna() & after.isna(), before.isna() & after.notna()
    defined = before.notna() & after.notna()
    old, new = mean(before[defined]), mean(after[defined])
    noise = _pooled(before[defined], after[defined])
    if runs["equal"].all():
        word = "equal" if defined.any() else "undefined"
    elif lost.any():
        word = "worse"
    else:
        word = _word(group.metric.gain(new - old), noise, tolerance, gained=bool(gained.any()))
    seeds = tuple(int(seed) for seed in runs["seed"])
    return Difference(title, frame.headline(group), method, labels, seeds, old, new, noise, word)


def _word(gain: float, noise: float, tolerance: float, *, gained: bool) -> str:
    if math.isnan(gain):
        return "better" if gained else "undefined"
    if abs(gain) <= tolerance + ROUNDING:
        return "better" if gained else "alike"
    if abs(gain) <= noise + ROUNDING:  # False where the noise is unknown
        return "noise"
    return "worse" if gain < 0 else "better"


def _remarks(cell: Difference, runs: pd.DataFrame, tolerance: float, metric: Metric) -> Iterator[str]:
    """What the means do not tell: scores that came or went, and a fall that only the noise excuses."""
    here = f"{cell.method} at {cell.labels}"
    changes = runs["score_new"] - runs["score_old"]
    for run in runs.to_dict("records"):
        before, after = (_score(score) for score in (run["score_old"], run["score_new"]))
        if "undefined" in (before, after) and before != after:
            yield f"{here}, seed {run['seed']}: {after}, was {before}"
    if cell.word == "noise" and (metric.gain(changes) < -tolerance - ROUNDING).all():
        fell = ", ".join(f"{change:+.4f}" for change in changes)
        went = "fell" if metric.higher else "rose"
        yield f"{here}: every seed {went} by more than the tolerance ({fell}), yet the change is within the noise"


def _score(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.4f}"


def _pooled(*sides: pd.Series) -> float:
    """Standard deviation within the sides; NaN for fewer than two seeds."""
    freedom = sum(len(side) - 1 for side in sides)
    return math.sqrt(sum(((side - side.mean()) ** 2).sum() for side in sides) / freedom) if freedom > 0 else math.nan


def _equal(pairs: pd.DataFrame, old: Frames, new: Frames) -> pd.Series:
    """Whether both runs of a pair have the same scores, bit for bit, in every case and class."""
    sides = []
    for frames, key in ((old, "key_old"), (new, "key_new")):
        place = dict(zip(pairs[key], pairs.index, strict=True))
        scores = spelled(frames.scores)
        sides.append(scores.assign(pair=scores["key"].map(place)).dropna(subset="pair"))
    about = ["pair", "case", "class"]
    scores = sides[0].merge(sides[1], on=about, how="outer", suffixes=("_old", "_new"), indicator="found")
    same = scores["found"] == "both"
    for name in old.scores.columns.drop(["key", *about[1:]]):
        same &= _same(scores[f"{name}_old"], scores[f"{name}_new"])
    differ = set(scores.loc[~same, "pair"])
    return _same(pairs["score_old"], pairs["score_new"]) & ~pairs.index.isin(differ)


def _same(one: pd.Series, other: pd.Series) -> pd.Series:
    return (one == other) | (one.isna() & other.isna())


# What decides nothing


def _times(title: str, pairs: pd.DataFrame, old: Frames, new: Frames) -> list[str]:
    """Seconds by kind of phase over the runs that both have."""
    spent = [
        frames.phases[frames.phases["key"].isin(pairs[key])].groupby("kind")["seconds"].sum()
        for frames, key in ((old, "key_old"), (new, "key_new"))
    ]
    said = []
    for kind in ("train", "predict", "evaluate", "diagnose"):
        before, after = (float(side.get(kind, 0.0)) for side in spent)
        if before and after:
            said.append(f"{kind} × {after / before:.2f} ({seconds(before)} s, now {seconds(after)} s)")
    machine = "" if set(pairs["machine_old"]) == set(pairs["machine_new"]) else ", on different machines"
    return [f"time, {title}{machine}: {', '.join(said)}"] if said else []


def _changes(pairs: pd.DataFrame) -> list[str]:
    """Commits, versions, machines, precisions and resolved options that are not the same on both sides."""
    said = []
    for name in ("commit", "machine", "precision"):
        before, after = (sorted(set(pairs[f"{name}{side}"])) for side in ("_old", "_new"))
        if before != after:
            said.append(f"{name}: {_some(before)}, now {_some(after)}")
    said += _versions(pairs)
    for method, runs in pairs.groupby("method"):
        for name in sorted({name for options in [*runs["options_old"], *runs["options_new"]] for name in options}):
            was, now = (sorted({plain(each.get(name)) for each in runs[f"options{side}"]}) for side in ("_old", "_new"))
            said += [f"option {method}.{name}: {_some(was)}, now {_some(now)}"] if was != now else []
    return said


def _versions(pairs: pd.DataFrame) -> list[str]:
    """The libraries whose version is not the same in both runs of some pair, with those pairs' versions."""
    texts = dict.fromkeys(zip(pairs["versions_old"], pairs["versions_new"], strict=True))
    made = [tuple(dict(part.rpartition(" ")[::2] for part in text.split(", ")) for text in pair) for pair in texts]
    said = []
    for library in sorted({name for pair in made for versions in pair for name in versions}):
        both = [(old.get(library), new.get(library)) for old, new in made if old.get(library) != new.get(library)]
        was, now = ([*dict.fromkeys(filter(None, side))] for side in zip(*both, strict=True)) if both else ([], [])
        said += [f"{library}: {_some(was)}, now {_some(now)}"] if both else []
    return said


def _some(values: list[str]) -> str:
    return " and ".join(value or "unknown" for value in values) or "absent"


# Words


def _titles(groups: list[Group]) -> dict[str, str]:
    """Dataset, configuration and budget of each comparison; with its digest where that does not tell them apart."""
    found = {}
    for group in groups:
        facts = group.facts
        scored = "" if facts["scored"] == "test" else ", validation scores"
        scored += f", {facts['folds']} folds" if facts["folds"] else ""
        steps = f"{facts['steps']:,} steps {shared(facts['parity'])}"
        found[group.name] = f"{facts['dataset']}, {facts['configuration']}, {steps}{scored}"
    alike = list(found.values())
    return {name: title if alike.count(title) == 1 else f"{title} ({name})" for name, title in found.items()}


def _with(options: dict[str, Any]) -> str:
    return f" ({', '.join(f'{name}={plain(options[name])}' for name in sorted(options))})" if options else ""
