"""The answer before anything else: true of ties, of one seed, of V, of full supervision alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from records import blank, drawn, make, short, texts, volumes, write

from atso_bench.benchmark.store.record import Phase, Record
from atso_bench.reports.data.frame import read
from atso_bench.reports.pages import tables
from atso_bench.reports.pages.page import Table

PHASES = [Phase("training", "train", 20.0, steps=600), Phase("evaluation", "evaluate", 99.0)]


def rows(results: Path) -> list[dict[str, str]]:
    (table,) = short(results).parts
    assert isinstance(table, Table)
    return [dict(zip(table.columns, row, strict=True)) for row in texts(table)]


def test_a_sure_lead_is_said_with_its_gain_and_time(tmp_path: Path) -> None:
    write(tmp_path, *volumes(drawn(gain=0.06), "atso"), *volumes(drawn(seed=1), "supervised", phases=PHASES))
    assert short(tmp_path).words[0] == ("atso scored highest, and its lead over supervised is statistically certain.")
    (row,) = rows(tmp_path)
    assert row["best method"] == "atso"
    assert row["gain over baseline"].startswith("+0.06")
    assert row["gain over baseline"].endswith("; certain")
    assert row["relative time"] == "2.2 ×"


def test_where_nothing_beats_supervised_that_is_the_first_sentence_and_times_stand_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, *volumes(drawn(), "atso"), *volumes(drawn(gain=0.06, seed=1), "supervised", phases=PHASES))
    assert short(tmp_path).words[0] == "No method scored higher than supervised."
    (row,) = rows(tmp_path)
    assert row["best method"] == "supervised"
    assert row["gain over baseline"] == "–"
    assert row["relative time"] == "1 × atso 2.2 ×"


def test_a_lead_of_one_seed_is_never_sure(tmp_path: Path) -> None:
    write(tmp_path, *volumes(drawn(seeds=1, gain=0.06), "atso"), *volumes(drawn(seeds=1, seed=1), "supervised"))
    assert short(tmp_path).words[0].endswith("its lead over supervised is not statistically certain.")
    assert rows(tmp_path)[0]["gain over baseline"].endswith("one seed: not testable")


@pytest.mark.parametrize("methods", [("atso", "cps"), ("atso", "supervised"), ("atso", "cps", "supervised")])
def test_methods_of_the_same_mean_lead_together(tmp_path: Path, methods: tuple[str, ...]) -> None:
    write(tmp_path, *(make(method, score=0.5) for method in methods))
    (row,) = rows(tmp_path)
    assert all(method in row["best method"] for method in methods)
    assert row["best method"].endswith("tied")
    assert row["gain over next best"] == "–"


def test_full_supervision_alone_is_no_tuning_and_v_alone_has_no_leader(tmp_path: Path) -> None:
    write(tmp_path, make("supervised", "100"))
    assert short(tmp_path).words == ["Only full supervision was run. There is nothing to compare."]
    write(tmp_path, make("supervised", spec={"scored": "validation", "validation": 20.0}))
    words = short(tmp_path).words
    assert len(words) == 1
    assert "Validation scores are for tuning" in words[0]


def test_undefined_seconds_make_an_undefined_time_and_not_a_shorter_one(tmp_path: Path) -> None:
    odd = [Phase("training", "train", float("nan"), steps=600), PHASES[1]]
    write(tmp_path, make("supervised", phases=PHASES), make("supervised", seed=1, phases=odd))
    (group,) = read(tmp_path).groups()
    table = tables.costs(group)
    row = dict(zip(table.columns, texts(table)[0], strict=True))
    assert (row["train (s)"], row["together (s)"], row["steps/s"]) == ("–", "–", "–")
    assert row["evaluate (s)"] == "99.0"


def test_a_run_without_phases_has_dashes(tmp_path: Path) -> None:
    write(tmp_path, make("supervised", phases=[]))
    (group,) = read(tmp_path).groups()
    table = tables.costs(group)
    row = dict(zip(table.columns, texts(table)[0], strict=True))
    assert (row["process (GiB)"], row["shared phases"]) == ("–", "0 of 0")


def test_full_supervision_below_fewer_labels_is_called_no_upper_bound(tmp_path: Path) -> None:
    write(tmp_path, make("supervised", "10", score=0.6), make("supervised", "100", score=0.5), make("atso"))
    found = read(tmp_path)
    (chapter,) = blank(found.groups())
    said = " ".join(words for section in chapter.section.sections for words in section.words)
    assert (
        "With all labels, supervised has Dice 0.500, less than with 10 % (4 cases). It is not an upper bound here"
        in said
    )


def test_what_every_run_warns_of_stands_beside_the_scores(tmp_path: Path) -> None:
    write(tmp_path, make(warnings=["the data is odd"]), make(seed=1, warnings=["the data is odd", "one of its own"]))
    (chapter,) = blank(read(tmp_path).groups())
    assert "About the data: the data is odd." in chapter.section.words
    assert not any("one of its own" in words for words in chapter.section.words)


# Time


def spent(method: str, wall: float, busy: float | None, seed: int = 0, gpu: int | None = None) -> Record:
    phases = [Phase("M0", "train", wall, steps=600, cpu_seconds=busy, device_bytes=gpu), PHASES[1]]
    return make(method, seed=seed, score=0.5 if method == "supervised" else 0.6, phases=phases)


def test_the_time_is_the_processors_whatever_the_clock_says(tmp_path: Path) -> None:
    """By the clock 99 s beside 30 s on a busy machine, where the processor worked for 26 s and 20 s."""
    write(tmp_path, spent("supervised", 30, 20), spent("atso", 99, 26))
    (row,) = rows(tmp_path)
    assert row["relative time"] == "1.3 ×"
    found = read(tmp_path)
    (chapter,) = blank(found.groups())
    said = " ".join(chapter.section.words)
    assert (
        "took 1.3 times the processor time of supervised (3.3 times by the clock, because the runs had to wait)."
        in said
    )


def test_a_ratio_of_the_clock_that_load_explains_is_withheld(tmp_path: Path) -> None:
    """Records from before processor time was measured: the same steps took 30 s once and 99 s once."""
    write(tmp_path, *(spent("supervised", 30, None, seed) for seed in range(2)))
    write(tmp_path, spent("atso", 30, None), spent("atso", 99, None, 1))
    (row,) = rows(tmp_path)
    assert row["relative time"] == "– not given: the machine was busy, equal steps took 30.0 to 99.0 s"
    (chapter,) = blank(read(tmp_path).groups())
    assert "relative time is not given: the machine was busy" in " ".join(chapter.section.words)


def test_on_a_gpu_the_time_is_the_devices(tmp_path: Path) -> None:
    write(tmp_path, spent("supervised", 30, 90, gpu=2**30), spent("atso", 60, 95, gpu=2**30))
    (row,) = rows(tmp_path)
    assert row["relative time"] == "2.0 ×"


def test_processor_time_on_one_side_alone_is_not_held_against_the_clock_of_the_other(tmp_path: Path) -> None:
    write(tmp_path, spent("supervised", 30, None), spent("atso", 60, 240))
    (row,) = rows(tmp_path)
    assert row["relative time"] == "2.0 ×"


def test_the_table_of_time_has_a_column_of_processor_seconds_where_any_are_known(tmp_path: Path) -> None:
    write(tmp_path / "old", spent("supervised", 30, None))
    write(tmp_path / "new", spent("supervised", 30, 55.4))
    for folder, there in (("old", False), ("new", True)):
        (group,) = read(tmp_path / folder).groups()
        table = tables.costs(group)
        row = dict(zip(table.columns, texts(table)[0], strict=True))
        assert ("processor (s)" in row) == there
    assert row["processor (s)"] == "–", "the evaluation's is not known, and a sum without it would be too small"
