"""What names a run: fractions, budgets, keys and paths."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atso_bench.benchmark.spec import BUDGETS, Budget, LabelFraction, RunSpec, digest

SPEC = RunSpec("phantom", "mean-teacher", "10", 3, Budget("smoke", 24))


@pytest.mark.parametrize(
    ("text", "canonical", "folder"),
    [
        ("10", "10", "10pct"),
        ("10%", "10", "10pct"),
        (" 10.0 % ", "10", "10pct"),
        ("1e1", "10", "10pct"),
        ("1/16", "6.25", "6.25pct"),
        ("1/30", "3.33333", "3.33333pct"),
        ("1/1", "100", "100pct"),
        ("100", "100", "100pct"),
        (2.5, "2.5", "2.5pct"),
        (5, "5", "5pct"),
        ("16cases", "16cases", "16cases"),
        ("1 case", "1cases", "1cases"),
    ],
)
def test_a_label_fraction_has_one_spelling(text: str | float, canonical: str, folder: str) -> None:
    fraction = LabelFraction(text)
    assert (fraction, fraction.folder) == (canonical, folder)


@pytest.mark.parametrize(
    "text",
    ["0", "-5", "100.1", "0cases", "-1cases", "1.5cases", "17/16", "0/4", "1/0", "nan", "inf", "", "%", "ten", "1/2/3"],
)
def test_what_is_no_label_fraction_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"percentage above 0 and at most 100, a ratio like 1/16") as error:
        LabelFraction(text)
    assert str(error.value).endswith(f"got {text!r}")


@given(st.floats(0.001, 100) | st.integers(1, 10_000).map("{}cases".format))
def test_the_canonical_spelling_of_a_fraction_reads_back(value: float | str) -> None:
    text = LabelFraction(value)
    assert LabelFraction(text) == text


@pytest.mark.parametrize(("text", "steps"), [*BUDGETS.items(), ("1", 1), ("1200", 1200)])
def test_a_budget_is_a_name_or_a_number_of_steps(text: str, steps: int) -> None:
    assert Budget.parse(text) == Budget(text, steps, "total")
    assert Budget.parse(text, "phase").parity == "phase"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "huge",
            "--budget must be one of smoke, demo, small, standard, one of them .* or a number of steps, got 'huge'",
        ),
        ("huge:100", "got 'huge:100'"),
        ("100:100", "got '100:100'"),
        ("-1", "a number of steps, got '-1'"),
        ("1.5", "a number of steps, got '1.5'"),
        ("", "a number of steps, got ''"),
        ("0", "a budget must be at least 1 step, got 0"),
    ],
)
def test_what_is_no_budget_is_an_error_that_names_it(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Budget.parse(text)


def test_a_named_budget_takes_other_steps_and_keeps_its_name() -> None:
    assert Budget.parse("small:3000") == Budget("small", 3000, "total")


def test_an_unknown_parity_is_an_error() -> None:
    with pytest.raises(ValueError, match="parity must be one of total, line, phase, time, got 'epoch'"):
        Budget.parse("smoke", "epoch")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fraction": "0"}, "got '0'"),
        ({"seed": -1}, "a seed must be at least 0, got -1"),
        ({"validation": 100}, "--validation must be a percentage from 0 to below 100, got 100"),
        ({"validation": -1.0}, "got -1.0"),
        ({"scored": "validation"}, "--scored validation needs a validation set"),
    ],
)
def test_a_wrong_field_is_an_error(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SPEC, **change)


CHANGES: dict[str, list[Any]] = {
    "dataset": ["hippocampus"],
    "method": ["atso"],
    "fraction": ["5", "10cases"],
    "seed": [4],
    "budget": [Budget("24", 24), Budget("smoke", 25), Budget("smoke", 24, "phase")],
    "configuration": ["3d_fullres"],
    "options": [{"subsets": 4}, {"subsets": 3}],
    "recipe": [{"lr": 0.1}],
    "validation": [10.0],
    "scored": ["validation"],
    "split_by": ["city"],
    "lists": [{"pool": ["a", "b"]}, {"pool": ["b", "a"]}, {"test": ["a", "b"]}],
    "folds": [4, 5],
    "fold": [1, 2],  # of five
}


def test_the_key_changes_with_every_field() -> None:
    assert set(CHANGES) == {field.name for field in fields(RunSpec)}
    spec = replace(SPEC, validation=5.0)
    changed = [
        replace(spec, **{"folds": 5 * (name == "fold"), name: value})
        for name, values in CHANGES.items()
        for value in values
    ]
    keys = [spec.key, *(other.key for other in changed)]
    assert len(set(keys)) == len(keys)


def test_the_key_does_not_hang_on_the_order_of_options() -> None:
    one, other = (replace(SPEC, options=dict(pairs)) for pairs in ([("a", 1), ("b", 2)], [("b", 2), ("a", 1)]))
    assert one.key == other.key


def test_a_digest_is_the_same_on_every_machine_and_version() -> None:
    assert digest({"b": [1, 2.5], "a": ("x", None)}) == digest({"a": ["x", None], "b": [1, 2.5]}) == "c4ba263b3100"
    assert len(digest(0, 20)) == 20


def test_a_fraction_is_the_same_run_however_it_is_spelled_and_travels_whole() -> None:
    spelled = replace(SPEC, fraction="10 %")  # type: ignore[arg-type]
    assert (spelled.fraction, spelled.key, spelled.path) == ("10", SPEC.key, SPEC.path)
    for fraction in (LabelFraction("1/16"), LabelFraction("4cases", listed=True)):
        for again in (pickle.loads(pickle.dumps(fraction)), copy.deepcopy(fraction), LabelFraction(str(fraction))):
            assert (again, again.percent, again.cases, again.listed) == (
                fraction,
                fraction.percent,
                fraction.cases,
                fraction.listed,
            )


def test_the_path_tells_dataset_method_fraction_and_seed() -> None:
    assert SPEC.path == Path("phantom", "mean-teacher", "10pct", f"seed3-{SPEC.key}.json")
    assert replace(SPEC, fraction="16cases").path.parts[2] == "16cases"


def test_the_title_is_for_people() -> None:
    assert SPEC.title == "mean-teacher on phantom, 10 %, seed 3"
    assert replace(SPEC, fraction="1cases").title == "mean-teacher on phantom, 1 cases, seed 3"


def test_a_spec_survives_json() -> None:
    spec = replace(SPEC, options={"subsets": 4}, recipe={"patch": [8, 8]}, validation=5.0, lists={"pool": ["a"]})
    back = RunSpec.from_json(json.loads(json.dumps(asdict(spec))))
    assert back == spec
    assert back.key == spec.key
