"""Any words on the command line, and any files to evaluate: a message and exit code 2, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from atso_bench.benchmark import registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.forecast import plan
from atso_bench.benchmark.grid import Options
from atso_bench.benchmark.spec import Budget, LabelFraction, RunSpec
from atso_bench.datasets._frames.recipes import recipes

MANY = settings(max_examples=200, derandomize=True, deadline=None)
SOME = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SIGNS = st.text(st.sampled_from("0123456789.,:/%=-+[]{}\"'_eEinfNA caseXx\u0663\u00b2\n\x00"), max_size=12)
PLAIN = ("", "0", "-1", "1e999", "NaN", "-Infinity", "null", "true", "[]", "{}", '"x"', "x", "0.5", "1e308", "9" * 30)
LISTS = (
    "[1,2]",
    "[16,16]",
    "[-16,16]",
    "[1e9,1e9]",
    "[16.5,16]",
    '["a","b"]',
    '{"a":1}',
    "[null,null]",
    "[[1]]",
    "\x00",
)
VALUES = st.sampled_from([*PLAIN, *LISTS])
RECIPE = [f"recipe.{name}" for name in ("batch", "patch", "lr", "momentum", "nesterov", "clip", "mirror", "width")]
STREETS = ["scales", "evaluation", "window", "stride", "shift", "encoder", "output_stride", "decoder", "ohem_kept"]
STREETS += ["ohem_threshold", "weights", "weights_sha256", "weight_decay", "mirror_pseudo", "surprise"]
METHOD = ["atso.subsets", "atso.generations", "atso.restart", "atso.initial_share", "atso.surprise", "recipe.surprise"]
OPTION = st.one_of(st.builds("{}={}".format, st.sampled_from([*RECIPE, *METHOD]), VALUES), SIGNS)


def read_or_refused(read: Callable[..., Any], *given_: Any, refusals: Any = ValueError) -> Any:
    """What was read; None if it was refused with a message."""
    try:
        return read(*given_)
    except refusals as error:
        said = str(error)
    assert said
    return None


@MANY
@given(text=SIGNS)
@example(text="\u00b2")
@example(text="small:\u00b2")
@example(text="9" * 5000)
def test_a_budget_is_read_or_refused(text: str) -> None:
    found = read_or_refused(Budget.parse, text)
    assert found is None or found.steps >= 1


@MANY
@given(text=SIGNS)
@example(text="1e-400")
@example(text="1/1e9999")
@example(text="9" * 5000 + "cases")
@example(text="1/" + "9" * 400)
def test_a_fraction_is_read_or_refused(text: str) -> None:
    found = read_or_refused(LabelFraction, text)
    if found is not None:
        assert found.cases or 0 < found.percent <= 100
        assert LabelFraction(found) == found


@MANY
@given(text=OPTION)
@example(text="recipe.batch=" + "[" * 5000)
@example(text="recipe.batch=" + "9" * 5000)
def test_an_option_is_read_or_refused(text: str) -> None:
    read_or_refused(Options.parse, [text], ["atso"])


@MANY
@given(name=st.sampled_from(STREETS), value=VALUES)
def test_a_recipe_of_street_scenes_is_made_or_refused(name: str, value: str) -> None:
    overrides = Options.parse([f"recipe.{name}={value}"], []).recipe
    read_or_refused(recipes, "512x1024", Budget.parse("smoke"), overrides)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), SIGNS),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(SIGNS, inner, max_size=2)),
    max_leaves=4,
)
SPEC = json.loads(json.dumps({**vars(RunSpec("a", "b", "10", 0, Budget("smoke", 24))), "budget": vars(Budget("a", 1))}))


@MANY
@given(name=st.sampled_from([*SPEC, "surprise"]), value=JSON)
def test_a_spec_from_a_file_is_read_or_refused(name: str, value: Any) -> None:
    read_or_refused(RunSpec.from_json, {**SPEC, name: value}, refusals=(ValueError, TypeError))


@pytest.fixture
def words(tiny: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Give ``plan`` words, up to what it would time; the dataset is tiny."""
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="2d": tiny)
    monkeypatch.setattr(plan, "forecast", lambda *given, **more: [])
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "ids.txt").write_text("\n".join(tiny.pool[:2]))

    def invoke(*given: str) -> None:
        result = CliRunner().invoke(app, ["plan", "-m", "atso", "--out", str(tmp_path / "out"), *given])
        assert result.exit_code in (0, 2), (given, result.output)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert "Traceback" not in result.output

    return invoke


@SOME
@given(option=OPTION, budget=st.sampled_from(["smoke", "6", "small:9"]))
def test_options_are_planned_or_refused(option: str, budget: str, words: Any) -> None:
    words("-f", "2cases", "--budget", budget, "--option", option)


@SOME
@given(fraction=SIGNS, seed=SIGNS, budget=SIGNS, validation=SIGNS)
def test_numbers_are_planned_or_refused(fraction: str, seed: str, budget: str, validation: str, words: Any) -> None:
    base = {"--fraction": "2cases", "--seed": "0", "--budget": "6", "--validation": "0"}
    for name, text in (("--fraction", fraction), ("--seed", seed), ("--budget", budget), ("--validation", validation)):
        words(*(f"{option}={value}" for option, value in {**base, name: text}.items()))


@SOME
@given(
    part=st.sampled_from(["labelled", "pool", "test", "validation", "other", ""]),
    file=st.one_of(st.sampled_from(["list.txt", "empty.txt", "ids.txt", "", ".", "none"]), SIGNS),
)
def test_lists_are_planned_or_refused(part: str, file: str, words: Any, tmp_path: Path) -> None:
    words("-f", "2cases", "--budget", "6", "--split-list", f"{part}={tmp_path / file if file.strip() else file}")


CONTENT = st.one_of(
    st.binary(max_size=64), st.just(b"\x1f\x8b\x08"), st.just(b"\x89PNG\r\n\x1a\n\x00"), st.just(b"NRRD0004\n")
)
NAMES = ["a.nii.gz", "a.nii", "a.nrrd", "a.png", "a_gtFine_labelIds.png", "a.txt", "a b\n.nii.gz"]


@SOME
@given(one=CONTENT, other=CONTENT, name=st.sampled_from(NAMES))
def test_files_of_any_content_are_evaluated_or_refused(
    one: bytes, other: bytes, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("evaluated")
    for side, content in (("predictions", one), ("references", other)):
        (place / side).mkdir()
        (place / side / name).write_bytes(content)
    words = ("--predictions", place / "predictions", "--references", place / "references", "--output", place / "x.csv")
    result = CliRunner().invoke(app, ["evaluate", *map(str, words)])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
