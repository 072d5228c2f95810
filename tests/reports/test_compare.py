"""The gate: numbers worked by hand, everything that makes runs incomparable, and names that try to steer a terminal."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from records import single as make
from records import write

from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.store.record import Phase, Record, write_failure
from atso_bench.reports.compare import compare
from atso_bench.reports.verdict import COLUMNS, WIDTH, Difference, Verdict, lines


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return tmp_path / "old"


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return tmp_path / "new"


def seeds(*scores: float, **fields: Any) -> list[Record]:
    return [make(seed=seed, score=score, **fields) for seed, score in enumerate(scores)]


def only(verdict: Verdict) -> Difference:
    (difference,) = verdict.differences
    return difference


# Better, worse, and what only seems so


def test_a_folder_is_equal_to_itself_bit_for_bit(old: Path) -> None:
    write(old, *seeds(0.7, 0.9), make("supervised", score=0.6))
    verdict = compare(old, old)
    assert verdict.code == 0
    assert [each.word for each in verdict.differences] == ["equal", "equal"]
    assert [each.method for each in verdict.differences] == ["supervised", "atso"]
    assert not verdict.reasons
    assert lines(verdict)[-1] == "Not worse: 2 cells, 2 equal; exit code 0."


def test_noise_is_the_pooled_standard_deviation_worked_by_hand(old: Path, new: Path) -> None:
    """0.80 and 0.90: squared deviations 0.005; 0.70 and 0.74: 0.0008; together over 1 + 1: 0.0029, its root 0.05385."""
    write(old, *seeds(0.80, 0.90))
    write(new, *seeds(0.70, 0.74))
    verdict = compare(old, new)
    cell = only(verdict)
    assert cell.noise == pytest.approx(0.0538516)
    assert (cell.baseline, cell.candidate) == (pytest.approx(0.85), pytest.approx(0.72))
    assert cell.change == pytest.approx(-0.13)
    assert (cell.word, verdict.code) == ("worse", 1)


@pytest.mark.parametrize(
    ("before", "after", "word", "code"),
    [
        ((0.80, 0.81), (0.788, 0.798), "worse", 1),  # 0.012 lower; the noise is 0.01 / sqrt(2) = 0.0071
        ((0.80, 0.81), (0.812, 0.822), "better", 0),
        ((0.80, 0.81), (0.791, 0.801), "alike", 0),
        ((0.80, 0.81), (0.790, 0.800), "alike", 0),  # the tolerance itself, which floats put a little above it
        ((0.79, 0.81), (0.76, 0.80), "noise", 0),  # 0.02 lower; the noise is sqrt((0.0002 + 0.0008) / 2) = 0.0224
    ],
)
def test_worse_is_beyond_the_tolerance_and_beyond_the_noise(
    before: tuple[float, float], after: tuple[float, float], word: str, code: int, old: Path, new: Path
) -> None:
    write(old, *seeds(*before))
    write(new, *seeds(*after))
    verdict = compare(old, new)
    assert (only(verdict).word, verdict.code) == (word, code)


def test_with_one_seed_the_tolerance_alone_decides(old: Path, new: Path) -> None:
    write(old, make(score=0.8))
    write(new, make(score=0.78))
    verdict = compare(old, new)
    assert only(verdict).noise != only(verdict).noise
    assert (only(verdict).word, verdict.code) == ("worse", 1)
    assert compare(old, new, tolerance=0.05).code == 0
    assert compare(new, old).code == 0


def test_a_fall_with_every_seed_that_counts_as_noise_is_said(old: Path, new: Path) -> None:
    write(old, *seeds(0.5, 0.9))
    write(new, *seeds(0.45, 0.85))
    verdict = compare(old, new)
    assert (only(verdict).word, verdict.code) == ("noise", 0)
    assert any("every seed fell by more than the tolerance (-0.0500, -0.0500)" in note for note in verdict.notes)


def test_equal_means_with_other_scores_of_a_case_are_not_called_equal(old: Path, new: Path) -> None:
    record = make()
    write(old, record)
    write(new, replace(record, cases={"t0": {"organ": {**record.cases["t0"]["organ"], "tp": 9}}}))
    assert only(compare(old, new)).word == "alike"


def test_a_score_that_became_undefined_is_worse_and_is_named(old: Path, new: Path) -> None:
    write(old, *seeds(0.8, 0.8))
    write(new, *seeds(0.8, float("nan")))
    verdict = compare(old, new)
    assert (only(verdict).word, verdict.code) == ("worse", 1)
    assert any("seed 1: undefined, was 0.8000" in note for note in verdict.notes)
    back = compare(new, old)
    assert (only(back).word, back.code) == ("better", 0)
    assert only(compare(write(old / "a", make(score=float("nan"))), old / "a")).word == "undefined"


def test_miou_is_judged_like_dice(old: Path, new: Path) -> None:
    write(old, make(track="natural", metric="miou", score=0.5))
    write(new, make(track="natural", metric="miou", score=0.3))
    assert (only(compare(old, new)).metric, compare(old, new).code) == ("mIoU", 1)


# Not comparable


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"spec": {"budget": Budget("700", 700)}}, "steps 600, now 700"),
        ({"spec": {"budget": Budget("600", 600, "phase")}}, "parity total, now phase"),
        ({"split": {"test": ["t1"]}}, "test set "),
        ({"data": "data1"}, "data data0, now data1"),
        ({"metrics_version": 2}, "version of the metrics 1, now 2"),
        ({"recipe": {"patch": [64, 64], "lr": 0.02}}, "recipe.lr 0.01, now 0.02"),
        ({"recipe": {"patch": [64, 64], "lr": 0.01, "clip": None}}, "recipe.clip absent, now none"),
        ({"classes": ["organ", "lesion"]}, "classes organ, now organ × lesion"),
        ({"spec": {"dataset": "acdc"}}, "the candidate has no run on this dataset"),
        ({"split": {"hash": "other"}}, "split split-10-0, now other"),
        ({"seed": 1}, "atso on phantom, 10 %, seed 0 is missing from the candidate"),
        ({"fraction": "20"}, "atso on phantom, 10 %, seed 0 is missing from the candidate"),
        ({"method": "supervised"}, "atso on phantom, 10 %, seed 0 is missing from the candidate"),
        ({"spec": {"options": {"subsets": 3}}}, "atso on phantom, 10 %, seed 0 is missing from the candidate"),
    ],
)
def test_what_cannot_be_compared_ends_in_2_and_says_which_fact_differs(
    changed: dict[str, Any], reason: str, old: Path, new: Path
) -> None:
    write(old, make())
    write(new, make(**changed))
    verdict = compare(old, new)
    assert verdict.code == 2
    assert not verdict.differences
    assert any(reason in each for each in verdict.reasons), verdict.reasons
    assert lines(verdict)[-1] == "Not comparable: 0 cells, nothing to compare; exit code 2."


def test_a_record_of_another_schema_and_a_torn_one_are_reasons(old: Path, new: Path) -> None:
    write(old, make(), make("supervised"))
    write(new, make())
    other = new / "records" / make("supervised").spec.path
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps({**asdict(make("supervised")), "schema": 99}), encoding="utf-8")
    (new / "records" / "phantom" / "seed3.json").write_text("{", encoding="utf-8")
    verdict = compare(old, new)
    assert verdict.code == 2
    assert any("it has schema 99, this version reads 1" in reason for reason in verdict.reasons)
    assert any("seed3.json is not a readable record" in reason for reason in verdict.reasons)


def test_a_run_that_failed_says_why_it_is_missing(old: Path, new: Path) -> None:
    write(old, make(), make("supervised"))
    write(new, make())
    write_failure(new, make("supervised").spec, "M0", RuntimeError("no luck"))
    (reason,) = compare(old, new).reasons
    missing = "supervised on phantom, 10 %, seed 0 is missing from the candidate"
    assert reason == f"{missing}, where it failed: RuntimeError: no luck"
    write_failure(old, make("supervised").spec, "M0", RuntimeError("x"))  # takes no record away
    assert compare(old, old).code == 0


def test_a_folder_without_a_finished_run_is_not_comparable(old: Path, new: Path) -> None:
    write(old, make())
    write_failure(new, make().spec, "M0", RuntimeError("x"))
    assert compare(old, new).reasons == ("the candidate has no finished run",)
    assert (compare(old, new).code, compare(new, old).code) == (2, 2)
    with pytest.raises(ValueError, match="there are no records under"):
        compare(old, new / "nowhere")


def test_worse_wins_over_not_comparable(old: Path, new: Path) -> None:
    """What is worse stays worse, whatever else is missing."""
    write(old, make(score=0.8), make("supervised"))
    write(new, make(score=0.7))
    verdict = compare(old, new)
    assert verdict.reasons
    assert verdict.code == 1


@pytest.mark.parametrize("tolerance", [-0.01, 1.0, float("nan"), float("inf")])
def test_a_tolerance_that_is_no_difference_of_scores_is_refused(tolerance: float, old: Path) -> None:
    with pytest.raises(ValueError, match="the tolerance is"):
        compare(write(old, make()), old, tolerance=tolerance)


# Matching


def test_an_option_that_was_asked_for_keeps_cells_apart(old: Path, new: Path) -> None:
    """In a folder of its own a method has a shorter label than beside itself with another option."""
    three = {"spec": {"options": {"subsets": 3}}, "options": {"subsets": 3}}
    write(old, make(score=0.8))
    write(new, make(score=0.8), make(score=0.1, **three))
    verdict = compare(old, new)
    assert (only(verdict).word, verdict.code) == ("equal", 0)
    assert "only the candidate has 1 run: atso on phantom, 10 %, seed 0 (subsets=3)" in verdict.notes
    assert {each.method for each in compare(new, new).differences} == {"atso", "atso (subsets=3)"}


def test_a_changed_default_is_judged_and_said(old: Path, new: Path) -> None:
    write(old, make(score=0.8))
    write(new, make(score=0.7, options={"subsets": 4}))
    verdict = compare(old, new)
    assert verdict.code == 1
    assert "option atso.subsets: 2, now 4" in verdict.notes


def test_seeds_that_both_have_are_compared_and_the_others_named(old: Path, new: Path) -> None:
    write(old, *seeds(0.8, 0.7))
    write(new, make(seed=1, score=0.7), make(seed=2, score=0.1))
    verdict = compare(old, new)
    assert (only(verdict).seeds, only(verdict).word, verdict.code) == ((1,), "equal", 2)
    assert verdict.reasons == ("atso on phantom, 10 %, seed 0 is missing from the candidate",)


def test_a_run_that_was_made_twice_counts_once_and_is_named(old: Path) -> None:
    """The recipe's own value given as an option makes another key of the same run."""
    write(old, make(), make(spec={"recipe": {"lr": 0.01}}))
    verdict = compare(old, old)
    assert only(verdict).seeds == (0,)
    assert sum("has atso on phantom, 10 %, seed 0 twice" in note for note in verdict.notes) == 2


def test_comparisons_of_equal_titles_are_told_apart(old: Path) -> None:
    write(old, make(), make(spec={"recipe": {"lr": 0.5}}, recipe={"patch": [64, 64], "lr": 0.5}))
    titles = {each.comparison for each in compare(old, old).differences}
    assert len(titles) == 2


# What decides nothing


def test_versions_commits_machines_and_times_are_said_and_decide_nothing(old: Path, new: Path) -> None:
    record = make()
    write(old, record)
    versions = {"python": "3.12.1", "versions": {"torch": "2.11.0", "timm": "1.0"}, "platform": "macOS", "commit": ""}
    slow = [Phase("M0", "train", 25.0, steps=600), Phase("evaluation", "evaluate", 1.0)]
    write(new, replace(record, environment=versions, phases=slow))
    verdict = compare(old, new)
    assert (only(verdict).word, verdict.code) == ("equal", 0)
    for note in ("commit: c0ffee, now unknown", "machine: Linux, now macOS", "Python: 3.11.7, now 3.12.1",
                 "torch: 2.10.0, now 2.11.0", "timm: absent, now 1.0"):  # fmt: skip
        assert note in verdict.notes
    (time,) = [note for note in verdict.notes if note.startswith("time")]
    assert time == (
        "time, phantom, 2d, 600 steps in total, on different machines: "
        "train × 2.50 (10.0 s, now 25.0 s), evaluate × 0.50 (2.0 s, now 1.0 s)"
    )


# On the console


def test_precisions_and_shared_devices_are_named(old: Path, new: Path) -> None:
    """A record from before there was a precision is a CPU's."""
    write(old, make(environment={"device": "cpu"}))
    gpu = {"device": "cuda:0", "gpu": "T4", "precision": "float16"}
    write(new, make(environment={**gpu, "together": 4}))
    notes = compare(old, new).notes
    assert "precision: float32, now float16" in notes
    assert "machine: cpu, now T4, cuda:0, 4 runs at once" in notes
    write(old, make(environment={**gpu, "together": 1}))
    assert "machine: T4, cuda:0, now T4, cuda:0, 4 runs at once" in compare(old, new).notes


def test_the_table_fits_in_100_columns_and_shows_every_cell(old: Path, new: Path) -> None:
    assert sum(COLUMNS.values()) + 2 * (len(COLUMNS) - 1) <= WIDTH
    options = {"spec": {"options": {"a_long_name_of_an_option": "with a long value " * 3}}}
    write(old, *seeds(0.8, 0.9), make(score=0.5, **options), make("supervised", "50", score=0.7))
    write(new, *seeds(0.7, 0.8), make(score=0.5, **options), make("supervised", "50", score=0.8))
    said = lines(compare(old, new))
    assert max(map(len, said)) <= WIDTH
    assert "atso                  10 % (4 cases)        0, 1       0.8500     0.7500  -0.1000  0.0707  worse" in said
    assert "supervised            50 % (20 cases)       0          0.7000     0.8000  +0.1000       –  better" in said
    assert said[-1] == "Worse: 3 cells, 1 equal, 1 worse, 1 better; exit code 1."


def test_names_from_a_file_cannot_steer_the_terminal(old: Path, new: Path) -> None:
    write(old, make())
    write(new, make(environment={"commit": "\x1b[2Jbad\u202e", "versions": {}, "platform": "a\r\nb"}))
    text = "\n".join(lines(compare(old, new)))
    assert "bad" in text
    assert not {"\x1b", "\r", "\u202e"} & set(text)


def test_many_reasons_are_counted_and_not_all_printed(old: Path, new: Path) -> None:
    write(old, *(make(seed=seed) for seed in range(30)), make("supervised"))
    write(new, make("supervised"))
    said = lines(compare(old, new))
    assert "- and 10 more" in said


def test_the_baseline_of_make_regression_is_one_that_this_version_reads_and_would_judge_by() -> None:
    baseline = Path(__file__).parents[1] / "baseline"
    found = compare(baseline, baseline)
    assert (found.code, len(found.differences), found.reasons) == (0, 4, ())
    assert all(difference.noise < difference.baseline / 4 for difference in found.differences)
