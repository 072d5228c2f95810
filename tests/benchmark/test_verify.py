"""A finished run is run again: the same bits on the same machine, a bound elsewhere, and a word on what cannot be."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import ToyDataset
from typer.testing import CliRunner

from atso_bench.benchmark import alike, registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.machine import processor
from atso_bench.benchmark.machine.progress import silent
from atso_bench.benchmark.run import Bench, execute, model_file
from atso_bench.benchmark.spec import Budget, LabelFraction, RunSpec
from atso_bench.benchmark.store import environment, verified
from atso_bench.benchmark.store.record import Record
from atso_bench.benchmark.store.stages import Stages
from atso_bench.reports.publish import publish

SPEC = RunSpec("toy", "self-learning", LabelFraction("10"), 0, Budget("9", 9), options={"generations": 2})


def known(patch: pytest.MonkeyPatch) -> None:
    """The toy is every dataset, and the code is that of a commit."""
    patch.setattr(registry, "dataset", lambda name, configuration="2d": ToyDataset())
    patch.setattr(environment, "commit", lambda: "c0ffee")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a run of two generations."""
    results = tmp_path_factory.mktemp("made") / "results"
    with pytest.MonkeyPatch.context() as patch:
        known(patch)
        execute(SPEC, Bench(results, "cpu", 0, silent()))
    return results


@pytest.fixture
def results(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    known(monkeypatch)
    return Path(shutil.copytree(made, tmp_path / "results"))


def verify(results: Path, *words: str, run: str = SPEC.key) -> Any:
    return CliRunner().invoke(app, ["verify", run, "--out", str(results), "--workers", "0", *words])


def files(results: Path) -> dict[Path, bytes]:
    """All but the index, which looking for a run brings up to date."""
    found = (path for path in results.rglob("*") if path.is_file() and "index" not in path.relative_to(results).parts)
    return {path: path.read_bytes() for path in found}


def record(results: Path) -> Record:
    return Record.read(results / "records" / SPEC.path)


def change(results: Path, **fields: Any) -> None:
    """Write another record in the place of the run's."""
    replace(record(results), **fields).write(results)


def elsewhere(results: Path) -> None:
    """From now on the record was made on another processor."""
    change(results, environment={**record(results).environment, "processor": "another one"})


def test_a_run_is_the_same_bit_for_bit_however_it_is_named_and_leaves_nothing(results: Path) -> None:
    before = files(results)
    for name in (SPEC.key[:6], "toy/self-learning/10/0", str(results / "records" / SPEC.path)):
        shown = verify(results, run=name)
        assert shown.exit_code == 0, shown.output
        assert "expected: the same bits" in shown.output
        assert "M0: weights are the same, bit for bit" in shown.output
        assert "labels are the same, bit for bit" in shown.output
        assert "final model: weights are the same" in shown.output
        assert shown.output.rstrip().endswith("verdict: the same, bit for bit")
    assert files(results) == before


def test_one_changed_count_of_one_case_is_found(results: Path) -> None:
    cases = record(results).cases
    name = next(iter(cases))
    scored = next(iter(cases[name].values()))
    scored["tp"] += 1
    change(results, cases=cases)
    shown = verify(results)
    assert shown.exit_code == 1
    assert "scores: 1 of 4 cases differ" in shown.output
    assert "verdict: differs" in shown.output


def test_one_changed_bit_of_a_weight_is_found_in_a_phase_and_in_the_model(results: Path) -> None:
    phase = next(phase for phase in record(results).phases if phase.kind == "train")
    for file in (Stages(results / "stages").folder(phase.key) / "model.pt", model_file(results, SPEC)):
        state = Stages.load(file)
        first = next(iter((state["models"][0] if "models" in state else state).values()))
        first.view(-1)[0] = torch.nextafter(first.view(-1)[0], torch.tensor(9.0))
        Stages.save(file, state)
    shown = verify(results)
    assert shown.exit_code == 1
    assert shown.output.count("weights differ by up to") == 2


def test_without_stages_losses_and_scores_are_compared(results: Path) -> None:
    shutil.rmtree(results / "stages")
    shown = verify(results)
    assert shown.exit_code == 0
    assert "M0: losses are the same, bit for bit" in shown.output
    assert "final model: not compared, its stage is gone" in shown.output


def test_elsewhere_the_score_may_differ_within_the_tolerance_and_what_differs_is_named(results: Path) -> None:
    elsewhere(results)
    again = record(results)
    versions = {**again.environment["versions"], "torch": "0.0.1"}
    cases = again.cases
    next(iter(next(iter(cases.values())).values()))["tp"] += 1
    change(results, cases=cases, score=again.score + 0.004, environment={**again.environment, "versions": versions})
    shown = verify(results)
    assert shown.exit_code == 0, shown.output
    assert "expected: Dice within 0.01, not the same bits:" in shown.output
    assert "processor: another one in the record" in shown.output
    assert f"torch: 0.0.1 in the record, {environment.versions()['torch']} here" in shown.output
    assert "verdict: the same within 0.01" in shown.output
    assert verify(results, "--tolerance", "0.001").exit_code == 1


def test_a_record_that_does_not_say_its_processor_is_the_same_where_the_bits_are(results: Path) -> None:
    known = {name: value for name, value in record(results).environment.items() if name != "processor"}
    change(results, environment=known)
    shown = verify(results)
    assert "processor: not known in the record" in shown.output
    assert "verdict: the same, bit for bit" in shown.output


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"data": "other"}, "its data have changed since"),
        ({"code": "other"}, "the method's code or defaults have changed since"),
        ({"options": {}}, "the method's code or defaults have changed since"),
        ({"metrics_version": 0}, "version 0 of the metrics"),
    ],
)
def test_a_record_of_other_data_or_code_cannot_be_verified(fields: Any, why: str, results: Path) -> None:
    change(results, **fields)
    file = max((results / "records" / SPEC.path).parent.glob("*.json"), key=lambda path: path.stat().st_mtime)
    shown = verify(results, run=str(file))
    assert shown.exit_code == 2
    assert why in shown.output


def test_missing_data_an_unknown_run_and_a_failing_one_cannot_be_verified(results: Path, monkeypatch: Any) -> None:
    assert verify(results, run="nothing").exit_code == 2
    from atso_bench.benchmark import verify as verifying

    def fail(*given: Any) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(verifying, "execute", fail)
    shown = verify(results)
    assert (shown.exit_code, "could not be repeated: RuntimeError: no room" in shown.output) == (2, True), shown.output
    monkeypatch.undo()
    spec = replace(SPEC, dataset="Dataset999_Gone")
    change(results, spec=spec)
    shown = verify(results, run=spec.key)
    assert (shown.exit_code, "Dataset999_Gone" in shown.output) == (2, True), shown.output


def test_code_with_changes_that_no_commit_holds_is_not_known_to_be_the_same(results: Path) -> None:
    made = {**record(results).environment, "commit": "c0ffee+"}
    assert "commit: the code had changes that no commit holds" in alike.differences(made, made)


# -- a share of the phases --------------------------------------------------------------------------------------------


def test_a_share_of_the_phases_starts_from_the_stored_ones(results: Path) -> None:
    shown = verify(results, "--phases", "0.1")
    assert shown.exit_code == 0, shown.output
    number = len({phase.key for phase in record(results).phases if phase.key})
    assert f"repeated: 1 of {number} phases" in shown.output
    assert sum("bit for bit" in line for line in shown.output.splitlines()) == 4  # phase, model, scores, verdict


def test_a_share_of_the_phases_needs_the_stages_and_the_same_versions(results: Path) -> None:
    assert verify(results, "--phases", "0").exit_code == 2
    made = record(results).environment
    change(results, environment={**made, "versions": {**made["versions"], "torch": "0.0.1"}})
    assert "other versions" in verify(results, "--phases", "0.5").output
    change(results, environment=made)
    shutil.rmtree(results / "stages")
    shown = verify(results, "--phases", "0.5")
    assert (shown.exit_code, "are gone from" in shown.output) == (2, True)


# -- notes ------------------------------------------------------------------------------------------------------------


def test_the_outcome_is_json_and_notes_say_where_but_not_who(results: Path, monkeypatch: Any) -> None:
    for name in ("USER", "LOGNAME", "HOSTNAME"):
        monkeypatch.setenv(name, "sentinel")
    monkeypatch.setenv("HOME", str(results.parent))
    for _ in range(2):
        result = verify(results, "--json", "--note")
        told = json.loads(result.stdout)
        assert (told["verdict"], told["bitwise"], told["expected"], told["other_cases"]) == ("same", True, "bits", [])
        assert told["phases"][0]["by"] == "weights"
    text = (results / "verified" / f"{SPEC.key}.json").read_text(encoding="utf-8")
    assert "sentinel" not in text
    assert str(results.parent) not in text
    found = verified.notes(results, record(results))
    assert len(found) == 2
    assert found[0].environment["processor"] == processor.kind()
    assert "command" not in found[0].environment


def test_notes_on_another_record_of_the_run_do_not_count(results: Path) -> None:
    assert verify(results, "--note").exit_code == 0
    assert len(verified.notes(results, record(results))) == 1
    cases = record(results).cases
    next(iter(next(iter(cases.values())).values()))["tp"] += 1
    change(results, cases=cases)
    assert verified.notes(results, record(results)) == []
    assert verify(results, "--note").exit_code == 1
    (only,) = verified.notes(results, record(results))
    assert only.verdict == "differs"


def test_notes_of_others_lie_beside_our_own(results: Path) -> None:
    assert verify(results, "--note").exit_code == 0
    own = results / "verified" / f"{SPEC.key}.json"
    others = json.loads(own.read_text(encoding="utf-8"))
    others["verifications"][0]["when"] = "2020-01-01"
    own.with_name(f"{SPEC.key}-others.json").write_text(json.dumps(others), encoding="utf-8")
    assert [found.when for found in verified.notes(results, record(results))][:1] == ["2020-01-01"]
    assert len(verified.notes(results, record(results))) == 2


def test_a_record_that_somebody_published_is_verified_by_its_file_alone(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(results, environment={**record(results).environment, "command": ["atso-bench", "--out", "/disk/me/results"]})
    publish(results, tmp_path / "site", print)
    file = tmp_path / "alone" / SPEC.path.name
    file.parent.mkdir()
    shutil.copy(tmp_path / "site" / "records" / SPEC.path, file)
    monkeypatch.chdir(tmp_path)
    shown = verify(results, "--note", run=str(file))  # whose stages are not those of the file
    assert shown.exit_code == 0, shown.output
    assert "M0: losses are the same, bit for bit" in shown.output
    assert "final model: not compared" in shown.output
    assert not (results / "verified").exists()
    shutil.copytree(tmp_path / "alone" / "verified", results / "verified")
    assert len(verified.notes(results, record(results))) == 1


def test_a_damaged_note_is_named(results: Path) -> None:
    (results / "verified").mkdir()
    (results / "verified" / f"{SPEC.key}.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="no readable note"):
        verified.notes(results, record(results))


# -- machines ---------------------------------------------------------------------------------------------------------


def test_on_a_gpu_the_same_bits_are_expected_of_deterministic_runs_alone() -> None:
    gpu: dict[str, Any] = {"device": "cuda:0", "gpu": "a", "versions": {"torch": "1"}, "platform": "Linux 5 x86_64"}
    assert any("sums change" in why for why in alike.differences(gpu, {**gpu, "device": "cuda:1"}))
    same = {**gpu, "deterministic": True, "nondeterministic": []}
    assert alike.differences(same, same) == []
    assert any("for nll_loss" in why for why in alike.differences(same, {**same, "nondeterministic": ["nll_loss"]}))
    assert "device: cuda in the record, cpu here" in alike.differences(same, {**same, "device": "cpu"})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: A Chip @ 2 GHz\nmodel name\t: A Chip @ 2 GHz\n", "A Chip @ 2 GHz"),
        ("CPU implementer\t: 0x41\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n", "0x41 0x3 0xd0c"),
    ],
)
def test_the_processor_has_the_name_that_linux_gives_it(text: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(text, encoding="utf-8")
    assert processor.kind(tmp_path / "cpuinfo").startswith(f"{name}, ")
    assert processor.kind(tmp_path / "none")
