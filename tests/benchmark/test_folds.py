"""Folds: every labelled case is test once, patients stay whole, labels are nested, and nothing else changes."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace

import pytest
from toy import ToyDataset
from typer.testing import CliRunner

from atso_bench.benchmark import grid, registry, split_notes
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.machine.progress import silent
from atso_bench.benchmark.options import GridOptions
from atso_bench.benchmark.run import Bench, execute
from atso_bench.benchmark.spec import Budget, RunSpec, digest
from atso_bench.benchmark.splits import Split, make_split
from atso_bench.benchmark.store import index
from atso_bench.benchmark.store.record import read_all
from atso_bench.reports.data.frame import read

SPEC = RunSpec("toy", "supervised", "50", 0, Budget("28", 28), folds=5, fold=1)


@dataclass(frozen=True)
class Patients(ToyDataset):
    """Two scans of each patient."""

    def group(self, case_id: str, by: str = "") -> str:
        return f"p{int(case_id[1:]) // 2}" if case_id.startswith("c") else case_id


def splits(dataset: ToyDataset, **changes: object) -> list[Split]:
    return [make_split(dataset, replace(SPEC, fold=fold, **changes)) for fold in range(1, SPEC.folds + 1)]


@pytest.mark.parametrize("dataset", [ToyDataset(), Patients(), Patients(cases=12)], ids=["cases", "patients", "few"])
def test_every_labelled_case_is_test_once_and_patients_stay_whole(dataset: ToyDataset) -> None:
    found = splits(dataset)
    tested = [case for split in found for case in split.test]
    assert sorted(tested) == sorted((*dataset.pool, *dataset.test))
    for split in found:
        here = {dataset.group(case) for case in split.test}
        assert not here & {dataset.group(case) for case in (*split.labelled, *split.unlabelled)}
        assert set(dataset.unlabelled) <= set(split.unlabelled)
    sizes = [len(split.test) for split in found]
    assert max(sizes) - min(sizes) <= 2  # a patient


def test_folds_are_the_same_for_all_seeds_fractions_and_methods() -> None:
    plain = [split.test for split in splits(ToyDataset())]
    assert plain == [split.test for split in splits(ToyDataset(), seed=7, fraction="20", method="atso")]


def test_small_fractions_are_contained_in_large_ones_within_each_fold() -> None:
    for few, many in zip(splits(ToyDataset(), fraction="20"), splits(ToyDataset(), fraction="60"), strict=True):
        assert set(few.labelled) < set(many.labelled)


def test_a_validation_set_is_apart_from_both() -> None:
    for split in splits(ToyDataset(), validation=20.0):
        assert split.validation
        assert not set(split.validation) & {*split.labelled, *split.unlabelled, *split.test}


def test_keys_from_before_there_were_folds_hold() -> None:
    spec = replace(SPEC, folds=0, fold=0)
    before = {name: value for name, value in asdict(spec).items() if name not in ("folds", "fold")}
    assert spec.key == digest({**before, "budget": spec.budget.facts})
    assert len({replace(SPEC, fold=fold).key for fold in range(1, 6)} | {spec.key}) == 6


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"folds": 1, "fold": 1}, "2 or more"),
        ({"fold": 6}, "--folds must be"),
        ({"scored": "validation", "validation": 20.0}, "leave out --scored validation"),
        ({"lists": {"test": ["c01"]}}, "leave out --split-list"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        replace(SPEC, **changes)


def test_more_folds_than_patients_are_refused() -> None:
    with pytest.raises(ValueError, match=r"--folds 5 needs as many labelled groups \(by patient\), but toy has 3"):
        make_split(Patients(cases=6), SPEC)


def test_a_test_set_of_two_names_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = ToyDataset(cases=12)
    monkeypatch.setattr(ToyDataset, "test", ("c10", "c11"))
    monkeypatch.setattr(ToyDataset, "pool", tuple(f"c{k:02d}" for k in range(10)))
    fixed = replace(SPEC, folds=0, fold=0)
    known = (*dataset.pool, *dataset.test)
    (note,) = split_notes.of_grid([fixed], [make_split(dataset, fixed)], known)
    assert "the test set has 2 cases" in note
    assert "--folds 5" in note
    assert split_notes.of_grid([SPEC], [make_split(dataset, SPEC)], known) == []


def test_the_option_makes_a_run_of_each_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="": ToyDataset())
    options = GridOptions(method=["supervised,cutmix"], fraction=["50"], dataset=["toy"], folds=3)
    found = options.specs()
    assert [(spec.fold, spec.method) for spec in found] == [
        (fold, method) for fold in (1, 2, 3) for method in ("supervised", "cutmix")
    ]
    assert {spec.folds for spec in found} == {3}
    assert grid.make_specs(["toy"], ["supervised"], ["50"], [0], SPEC.budget, grid.Options({}, {}))[0].fold == 0


@pytest.mark.parametrize("fold", [1, 2])
def test_volumes_run_in_folds_also_where_the_fixed_test_set_is_labelled(fold, tiny, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="2d": tiny)
    recipe = {"width": 2, "batch": 2}
    spec = RunSpec("phantom", "self-learning", "100", 0, Budget("smoke", 8), recipe=recipe, folds=2, fold=fold)
    record = execute(spec, Bench(tmp_path, "cpu", 0, silent()))
    assert len(record.cases) == 5
    assert set(tiny.test) & {*record.split["labelled"], *record.cases}


def test_a_grid_of_folds_ends_in_a_report_of_all_cases(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="": ToyDataset())
    words = ["run", "-m", "supervised,cutmix", "-f", "50", "-d", "toy", "--budget", "8", "--device", "cpu"]
    result = CliRunner().invoke(app, [*words, "--folds", "3", "--out", str(tmp_path), "--workers", "0"])
    assert result.exit_code == 0, result.output
    assert "fold 2 of 3" in result.output
    assert re.search(r"dice \S+ in \d+ s, phases \d+ s", result.output)  # the whole time, and that of its phases
    again = CliRunner().invoke(app, [*words, "--folds", "3", "--out", str(tmp_path), "--workers", "0"])
    assert re.search(r"dice \S+ made before in \d+ s", again.output)
    assert "over seeds, 3 folds together" in result.output
    assert "±" not in result.output  # one seed has no deviation, whatever its folds
    assert len(read_all(tmp_path)) == 6
    assert {(row["folds"], row["fold"]) for row in index.table(tmp_path).to_pylist()} == {(3, 1), (3, 2), (3, 3)}
    frames = read(tmp_path)
    assert not frames.failures
    (group,) = frames.groups()
    assert list(group.runs["cases"]) == [24, 24]
    markdown = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "3 folds" in markdown
    assert "Missing runs" not in markdown
