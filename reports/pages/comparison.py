"""One comparison's part of the report: the answer, the scores, the cases, what it cost, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from atso_bench.reports.certainty.evidence import Evidence
from atso_bench.reports.data import frame
from atso_bench.reports.data.frame import Group
from atso_bench.reports.figures import label_efficiency
from atso_bench.reports.figures.overlays import Overlays
from atso_bench.reports.pages import answers, cases, limits, natural, provenance, published, tables
from atso_bench.reports.pages.page import Picture, Section, Strip, Table
from atso_bench.reports.words import decimals


@dataclass(frozen=True)
class Art:
    """What was drawn of a comparison.

    Attributes:
        figures: by name; what there was nothing to draw of is not there.
        strips: one for each case of ``seen``.
        seen: what the strips are of; None where no run kept a picture.
    """

    figures: Mapping[str, Picture] = field(default_factory=dict)
    strips: Sequence[Strip] = ()
    seen: Overlays | None = None

    def parts(self, *names: str) -> list[Table | Picture | Strip]:
        """Those of the figures that there are."""
        return [self.figures[name] for name in names if name in self.figures]


def comparison(group: Group, known: Evidence, title: str, anchor: str, art: Art) -> Section:
    """All that the runs of one comparison say."""
    sections = [
        *([answers.tests(group, known)] if known.against else []),
        *([limits.section(group, known)] if known.headroom else []),
        *([limits.averages(group)] if group.runs["average"].notna().any() else []),
        _efficiency(group, known, art),
        _by_class(group),
        _by_case(group, art),
        *([_seen(group, art)] if art.seen else []),
        _cost(group, art),
        *([_mimicking(group, art)] if len(group.diagnostics) else []),
        *_published(group),
    ]
    words = [
        *answers.leaders(group, known),
        *limits.warnings(group, known),
        _how_to_read(group, known),
        *tables.cautions(group),
    ]
    words += [f"About the data: {text}." for text in provenance.said_by_all(group.runs)]
    return Section(title, anchor, words, [tables.scores(group, known.estimates)], sections)


def _how_to_read(group: Group, known: Evidence) -> str:
    ends = f" and, where it can be given, the 95 % interval over other {group.case}s and other seeds"
    bold = (
        "the sentences above say whether a lead may be chance"
        if known.tested
        else "no test was made, so a small lead may be chance"
    )
    return (
        f"Mean {frame.headline(group)} on {tables.part(group)} ± sample standard deviation over seeds. Small print: "
        f"the number of seeds n{ends if known.estimates else ''}. With one seed there is no deviation, and an interval "
        f"covers other {group.case}s only. Bold only marks the highest mean of a column: {bold}. "
        "Each score links to its records."
    )


def _efficiency(group: Group, known: Evidence, art: Art) -> Section:
    words = ["Lines join means over seeds. Rings are single seeds (for 2 to 10 seeds)."]
    if known.estimates:
        words[0] += (
            f" Bars are 95 % intervals of the means, with one seed over other {group.case}s only. No bar: no interval "
            "can be given. An arrow: the bar continues beyond the axis."
        )
    words += _no_bound(group)
    if group.runs["upper"].any():
        words[0] += " The dashed line is the upper bound, all labels" + (
            ", its band the 95 % interval. The dotted line is 95 % of it. Labels needed: an arrow to the left means or "
            "fewer, to the right more than tried."
            if known.needed
            else "."
        )
    if len(group.labels) > label_efficiency.TOGETHER:
        words[0] += f" Each method has its own panel. The thin line in all panels is {known.baseline}."
    else:
        words[0] += f" Methods with the same number of {group.case}s are drawn slightly apart."
    words[0] += f" The axis shows the actual shares: a fraction is rounded to whole {group.case}s."
    return Section(
        "Label efficiency", words=[*words, *answers.needed(group, known)], parts=art.parts("label-efficiency")
    )


def _no_bound(group: Group) -> list[str]:
    """Full supervision that is worse than the same method with fewer labels bounds nothing."""
    upper = group.runs[group.runs.upper]
    if upper.empty:
        return []
    label, all_labels = upper["label"].iloc[0], upper["fraction"].iloc[0]
    means = {text: value for (text, each), value in group.means.items() if each == label and not math.isnan(value)}
    full = means.get(all_labels, math.nan)
    if not any(group.metric.gain(value - full) > 0 for value in means.values()):
        return []
    best = group.fractions[max(means, key=lambda text: group.metric.gain(means[text]))]
    less = "less" if group.metric.higher else "more"
    return [
        f"With all labels, {label} has {frame.headline(group)} {decimals(full)}, {less} than with {best}. It is not an "
        "upper bound here, and 95 % of it means little."
    ]


def _by_class(group: Group) -> Section:
    if group.metric.pooled:
        return Section("By class", words=natural.words(group), parts=[natural.classes(group), natural.others(group)])
    words = (
        "An overlap is undefined if prediction and reference are both empty, a distance if either is empty. Undefined "
        "scores are left out of the mean and counted beside it. Read distances together with the empty predictions: a "
        "missed organ has no distance."
    )
    return Section("By class", words=[words], parts=[tables.classes(group)])


def _by_case(group: Group, art: Art) -> Section:
    score = group.metric.of_case
    words = [f"The score of a {group.case} is its {score}, averaged over seeds."]
    if "by-case" in art.figures:
        words[0] += (
            f" A box holds the middle half of the {group.case}s, the thick line is the median, and whiskers reach the "
            f"furthest {group.case} within 1.5 box lengths. Dots are {group.case}s (in large comparisons only those "
            "beyond the whiskers)."
        )
    return Section(f"By {group.case}", words=words, parts=[*art.parts("by-case"), cases.hardest(group)])


def _seen(group: Group, art: Art) -> Section:
    assert art.seen is not None
    words = []
    if art.seen.sheets:
        slices = "Each is shown by the slice with the largest shares of the classes. "
        part = "" if group.case == "frame" else slices
        words.append(
            f"The best, the median and the worst {group.case} by mean score over the methods shown, at "
            f"{group.fractions[art.seen.fraction]}, seed {art.seen.seed}. They are the same for every method. {part}"
            f"Scores are those of the whole {group.case}."
        )
        if len(group.labels) - len(art.seen.absent) > 1:
            words.append("Disagreement: the brighter, the more methods differ from the majority.")
        if art.seen.absent:
            words.append(f"No picture at this fraction and seed: {', '.join(art.seen.absent)}.")
    words += [f"A picture could not be read: {text}." for text in art.seen.damaged]
    return Section(f"{group.case.capitalize()}s to look at", words=words, parts=[*art.parts("classes"), *art.strips])


def _cost(group: Group, art: Art) -> Section:
    words = (
        "Shared phases (the same training in another method or an interrupted run) were computed once but count in "
        "full for each method. Steps/s and samples/s are those of training. Diagnostics write labels that no training "
        "uses; their time is not in the sum. Process memory is the peak so far, and an earlier run of the same process "
        "may have set it. A CPU has no device memory. Teacher patches and pseudo-labelled "
        f"{group.case}s are extra forward passes, not steps of the budget."
    )
    said = [words, *filter(None, [tables.saved(group)])]
    if "cost" in art.figures:
        said.append(
            "Score against time: a point is the mean of one method over seeds, rings are single runs. Black edges and "
            "the line mark the Pareto front: no other method of the panel is as fast and as good. The front compares "
            "means: a lead on it may be chance. Equal steps take longer on a busy machine."
        )
    if "phases" in art.figures:
        said.append(
            "Time by phase: hatched parts were found in the stage store and count in full. The first training is M0 in "
            "methods with one. Diagnostics are not included."
        )
    if tables.has_processor(group):
        said.append(
            "Processor seconds add up all cores of the process and its data loaders. Other work on the machine hardly "
            "changes them, so relative times use them."
        )
    if tables.has_energy(group):
        said.append(
            "Energy is the reading of the device's own counter during training and pseudo-labelling. It includes other "
            "work on the device."
        )
    return Section("Time and memory", words=said, parts=[*art.parts("cost", "phases"), tables.costs(group)])


def _mimicking(group: Group, art: Art) -> Section:
    score = frame.headline(group)
    updated = "the voxels in the foreground before or after" if group.metric.background else "all pixels"
    words = (
        f"How each student changed the labels of the {group.case}s that it relabelled. Update rate: changed share of "
        f"{updated}. Agreement ({score}) of student and teacher: on those {group.case}s, and inside and outside the "
        f"student's own training subset. Corrected: share of wrong labels made right. Corrupted: share of right labels "
        f"made wrong. These two and the pseudo-label {score} come from the evaluator, because methods cannot see the "
        "hidden labels."
    )
    said = [words]
    if "mimicking" in art.figures:
        said.append(
            "The figure shows means over subsets, then over seeds, with bars from the lowest to the highest seed. "
            "Solid: corrected, or outside the student's own subset. Dashed: corrupted, or inside it."
        )
    return Section("Lazy mimicking", words=said, parts=[*art.parts("mimicking"), tables.mimicking(group)])


def _published(group: Group) -> list[Section]:
    """What others published on this dataset; nothing where the data only has its name."""
    if any("not the official" in warning for warnings in group.runs["warnings"] for warning in warnings):
        return []
    dataset = group.facts["dataset"]
    ours = {protocol["name"]: protocol["differs"] for protocol in group.runs["protocol"] if protocol}
    table = published.table(dataset, ours)
    return (
        [] if table is None else [Section("Published elsewhere", words=published.words(dataset, ours), parts=[table])]
    )
