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
from atso_bench.reports.pages import answers, cases, natural, provenance, published, tables
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
        _efficiency(group, known, art),
        _by_class(group),
        _by_case(group, art),
        *([_seen(group, art)] if art.seen else []),
        _cost(group, art),
        *([_mimicking(group, art)] if len(group.diagnostics) else []),
        *_published(group),
    ]
    words = [*answers.leaders(group, known), _how_to_read(group, known), *tables.cautions(group)]
    words += [f"About the data: {text}." for text in provenance.said_by_all(group.runs)]
    return Section(title, anchor, words, [tables.scores(group, known.estimates)], sections)


def _how_to_read(group: Group, known: Evidence) -> str:
    ends = f" and, where it can be said, the 95 % interval over other {group.case}s and other seeds"
    bold = (
        "the sentences above say whether a lead may be chance"
        if known.tested
        else "no test was made, so a small lead may be chance"
    )
    return (
        f"Mean {frame.headline(group)} on {tables.part(group)} ± sample standard deviation over seeds; in small print "
        f"the number of seeds n{ends if known.estimates else ''}. With one seed there is no deviation, and an interval "
        f"is over {group.case}s only. Bold is the highest mean of its column and nothing more: {bold}. "
        "Each score leads to its records."
    )


def _efficiency(group: Group, known: Evidence, art: Art) -> Section:
    words = ["Lines join means over seeds, rings are single seeds (where there are 2 to 10)."]
    if known.estimates:
        words[0] += (
            f" Bars are the 95 % interval of a mean, with one seed over other {group.case}s only; where there is none "
            "it cannot be said, and where one ends in an arrow it goes on."
        )
    words += _no_bound(group)
    if group.runs["upper"].any():
        words[0] += " The dashed line is the upper bound, all labels" + (
            ", its band the 95 % interval; the dotted line is 95 % of it. An arrow to the left of an interval of "
            "labels needed: or fewer; to the right: more than were tried."
            if known.needed
            else "."
        )
    if len(group.labels) > label_efficiency.TOGETHER:
        words[0] += f" Each method has a panel, and the thin line is {known.baseline} in every one."
    else:
        words[0] += f" Methods stand a little apart at the same number of {group.case}s so that they can be told apart."
    words[0] += f" The axis has the shares as drawn: a fraction is rounded to whole {group.case}s."
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
    if not any(value > full for value in means.values()):
        return []
    return [
        f"With all labels {label} has {frame.headline(group)} {decimals(full)}, less than with "
        f"{group.fractions[max(means, key=means.__getitem__)]}: it is no upper bound here, and 95 % of it says little."
    ]


def _by_class(group: Group) -> Section:
    if group.metric.pooled:
        return Section("By class", words=natural.words(group), parts=[natural.classes(group), natural.others(group)])
    words = (
        "Overlaps are undefined where prediction and reference are both empty, distances where either is: such "
        "cases are left out of a mean and counted beside it. Read a distance together with the empty "
        "predictions, for a missed organ has no distance."
    )
    return Section("By class", words=[words], parts=[tables.classes(group)])


def _by_case(group: Group, art: Art) -> Section:
    score = group.metric.of_case
    words = [f"The score of a {group.case} is its {score}, mean over seeds."]
    if "by-case" in art.figures:
        words[0] += (
            f" A box holds the middle half of the {group.case}s, the thick line is the median, whiskers reach the "
            f"furthest {group.case} within 1.5 box lengths; dots are {group.case}s (in large comparisons only those "
            "beyond)."
        )
    return Section(f"By {group.case}", words=words, parts=[*art.parts("by-case"), cases.hardest(group)])


def _seen(group: Group, art: Art) -> Section:
    assert art.seen is not None
    words = []
    if art.seen.sheets:
        part = (
            "" if group.case == "frame" else "One slice of each: the one that holds the largest shares of the classes. "
        )
        words.append(
            f"The {group.case}s with the best, the median and the worst score, by mean over the methods shown, "
            f"at {group.fractions[art.seen.fraction]}, seed {art.seen.seed}; the same for every method. {part}"
            f"A score is the whole {group.case}'s."
        )
        if len(group.labels) - len(art.seen.absent) > 1:
            words.append("Disagreement is bright where many methods differ from what most of them say.")
        if art.seen.absent:
            words.append(f"Without a picture there: {', '.join(art.seen.absent)}.")
    words += [f"A picture could not be read: {text}." for text in art.seen.damaged]
    return Section(f"{group.case.capitalize()}s to look at", words=words, parts=[*art.parts("classes"), *art.strips])


def _cost(group: Group, art: Art) -> Section:
    words = (
        "Phases that were shared (another method's same training, or an interrupted run's) were computed once "
        "but count in full for each method. Steps/s and samples/s are of training. Diagnostics are labels "
        "that no training sees; their time is not in the sum. The process's memory is the peak so far, which "
        "earlier runs of the same process may have set; on a CPU there is no device memory. Extra forward "
        f"passes are no steps of the budget: patches that a teacher saw, and {group.case}s that were "
        "pseudo-labelled."
    )
    said = [words, *filter(None, [tables.saved(group)])]
    if "cost" in art.figures:
        said.append(
            "Score against seconds: a point is the mean over seeds of one method, rings are single runs. An edge and "
            "the line mark the Pareto front: no other method of the panel is as fast and as good. It is made of means "
            "and does not say whether a lead is chance; the same steps take longer when the machine does other work."
        )
    if "phases" in art.figures:
        said.append(
            "Seconds by phase: hatched is what was found in the stage store and counts in full. The first training is "
            "M0 where a method has one. Diagnostics are not in it."
        )
    if tables.has_processor(group):
        said.append(
            "Processor seconds are those of all cores in the process and its loaders together. Other work on the "
            "machine hardly moves them, so the time of a method beside another is theirs."
        )
    if tables.has_energy(group):
        said.append(
            "Energy is what the whole device drew by its own counter in training and pseudo-labelling, others' work "
            "included."
        )
    return Section("Time and memory", words=said, parts=[*art.parts("cost", "phases"), tables.costs(group)])


def _mimicking(group: Group, art: Art) -> Section:
    score = frame.headline(group)
    updated = "voxels that are foreground before or after and" if group.metric.background else "pixels"
    words = (
        f"What each student's labels changed, over the {group.case}s that it relabelled. Update rate: share of the "
        f"{updated} that changed. Agreement ({score}) of student and teacher: on those {group.case}s, and inside and "
        f"outside the student's own training subset. Pseudo-label {score}, corrected (wrong to right) and corrupted "
        "(right to wrong), each a share of the labels that could be so, are the evaluator's, which alone may open the "
        "hidden labels."
    )
    said = [words]
    if "mimicking" in art.figures:
        said.append(
            "The figure: means over subsets, then over seeds, bars from the lowest seed to the highest. Solid: "
            "corrected, or outside the student's own subset; dashed: corrupted, or inside."
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
