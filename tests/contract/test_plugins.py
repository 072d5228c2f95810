"""Methods and datasets of one's own, without a fork."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from typer.testing import CliRunner

import atso_bench
from atso_bench.benchmark import declared, plugins, registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.contract.report import broken
from atso_bench.benchmark.engines import order
from atso_bench.benchmark.training import origin

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = re.search(
    r"<!-- example: methods/pi_model.py -->\n```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.S
)
DATASET = '''
from atso_bench.datasets.phantom import Phantom


class Tiny(Phantom):
    """A phantom of ten cases."""

    name = "tiny"
    summary = "ten synthetic volumes"

    def __init__(self, configuration: str = "2d") -> None:
        super().__init__(configuration, cases=10, unlabelled=2, size=(10, 24, 24))
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A plug-in folder with the example of CONTRIBUTING.md, not joined yet; what joins is gone after the test."""
    assert EXAMPLE
    folder = tmp_path / "mine"
    write(folder, "methods/pi_model.py", EXAMPLE[1])
    monkeypatch.setenv(plugins.VARIABLE, "")
    monkeypatch.setattr(atso_bench, "__path__", [*atso_bench.__path__])
    before = set(sys.modules)
    declared._of_module.cache_clear()
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith(("atso_bench.methods", "atso_bench.datasets")):
            del sys.modules[name]
    declared._of_module.cache_clear()
    origin._code.cache_clear()


def write(folder: Path, name: str, text: str = "") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def command(*words: object, plugins: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    words = (sys.executable, "-m", "atso_bench.benchmark.cli", *words)
    environment = {**os.environ, "ATSO_BENCH_PLUGINS": plugins, **more}
    return subprocess.run(list(map(str, words)), env=environment, capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_example_in_contributing_is_a_method_that_obeys(mine):
    plugins.join([mine])
    assert "pi-model" in registry.names("methods")
    assert registry.groups("pi-model") == ("consistency",)
    assert "pi-model" in registry.expand(["consistency"])
    said: list[str] = []
    assert broken("pi-model", said.append) == 0, said


def test_its_options_are_checked_like_ours(mine):
    plugins.join([mine])
    with pytest.raises(ValueError, match=r"pi-model\.weight: .* got -1.*\noptions of pi-model: weight, noise"):
        registry.method("pi-model", {"weight": -1})


def test_its_code_counts_with_all_that_it_imports_beside_it(mine):
    plugins.join([mine])
    helper = write(mine, "methods/_mine_too.py", "FACTOR = 1\n")
    text = (mine / "methods/pi_model.py").read_text("utf-8")
    write(
        mine,
        "methods/pi_model.py",
        text.replace("\n\nclass", "\nfrom atso_bench.methods._mine_too import FACTOR\n\n\nclass"),
    )
    kind = registry.load("methods", "pi-model")
    first = origin.code(kind)
    assert origin.name(kind) == "pi-model"
    for where, said in ((helper, "FACTOR = 2\n"), (mine / "methods/pi_model.py", text)):
        origin._code.cache_clear()
        before, _ = origin.code(kind), where.write_text(said, "utf-8")
        origin._code.cache_clear()
        assert origin.code(kind) != before
    assert first
    assert plugins.used(kind, registry.load("methods", "atso")) == ["methods/pi_model.py"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("methods/atso.py", "", "there is a built-in methods/atso.py already"),
        ("methods/_losses.py", "", "there is a built-in methods/_losses.py already"),
        ("methods/my-method.py", "", "call it my_method.py"),
        ("methods/__init__.py", "", "would take the place of our own files"),
        ("benchmark/__init__.py", "", "would take the place of our own files"),
        ("methods/mine.py", "import nowhere_at_all", "mine.py: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("methods/mine.py", "def broken(:", "SyntaxError"),
        ("methods/mine.py", "x = 1", "mine.py must define exactly one public class, but defines 0"),
        ("methods/mine.py", "class Mine:\n    pass", "Mine is no method, it has no fit; derive it from Settings"),
        ("datasets/mine.py", "class Mine:\n    pass", "Mine is no dataset, it has no configurations"),
    ],
)
def test_a_plug_in_that_cannot_be_one_is_answered_in_a_line(name, text, said, mine):
    write(mine, name, text)
    kind = "datasets" if name.startswith("datasets") else "methods"
    words = ["prepare", "mine"] if kind == "datasets" else ["run", "-m", "mine", "-f", "10", "--budget", "4"]
    done = CliRunner().invoke(app, [*words, "--plugins", str(mine)])
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("nowhere", "there is no such folder"),
        ("empty", "holds neither methods/NAME.py nor datasets/NAME.py"),
        ("mine/methods", "did you mean"),
    ],
)
def test_a_folder_that_declares_nothing_is_refused(folder, said, mine, tmp_path):
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(app, ["list", "methods", "--plugins", str(tmp_path / folder)])
    assert done.exit_code == 2
    assert said in done.output


def test_two_plug_ins_of_one_name_are_refused(mine, tmp_path):
    plugins.join([mine])
    write(tmp_path / "other", "methods/pi_model.py")
    plugins.join([tmp_path / "other"])
    with pytest.raises(ValueError, match="has the same name; rename one of them"):
        registry.names("methods")


def test_a_file_in_place_of_a_name_is_told_what_to_do(mine):
    done = CliRunner().invoke(app, ["run", "-m", str(mine / "methods/pi_model.py"), "-f", "10"])
    assert done.exit_code == 2
    assert "--method takes a name, not a file; put the file into a folder FOLDER/methods, give --plugins" in done.output


def test_check_says_what_a_method_does_not_obey(mine):
    text = (mine / "methods/pi_model.py").read_text("utf-8")
    alone = [f"labelled.image, {rest}" for rest in ("*views)", "labelled.image, labelled.image)")]
    write(mine, "methods/no_loss.py", text.replace(*alone))
    write(mine, "methods/falls.py", text.replace("model = trainer.new_model()", "model = trainer.net()"))
    plugins.join([mine])
    done = CliRunner().invoke(app, ["check", "no-loss", "falls"])
    assert done.exit_code == 1, done.output
    lines = [line for line in done.output.splitlines() if line.startswith("broken")]
    assert "unlabelled images change nothing: the unlabelled loss has no gradient" in lines[0]
    assert "falls cannot be fitted on the toy: AttributeError" in lines[-1]
    assert re.search(r"falls\.py, line \d+\)", lines[-1])


def test_an_entry_point_brings_a_method_with_the_code_of_its_package(mine, tmp_path, monkeypatch):
    assert EXAMPLE
    package = tmp_path / "lib" / "their_package"
    write(package, "__init__.py")
    write(package, "numbers_of_ours.py", "NOISE = 0.1\n")
    text = EXAMPLE[1].replace("\n\nclass", "\nfrom their_package.numbers_of_ours import NOISE\n\n\nclass")
    write(package, "methods.py", text)
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    points = {"theirs": EntryPoint("theirs", "their_package.methods:PiModel", "atso_bench.methods")}
    monkeypatch.setattr(plugins, "entries", lambda kind: points if kind == "methods" else {})
    kind = registry.load("methods", "theirs")
    assert origin.of(registry.method("theirs", {}))["method"] == "theirs"
    assert plugins.used(kind) == ["their_package.methods"]
    first = origin.code(kind)
    write(package, "numbers_of_ours.py", "NOISE = 0.2\n")
    origin._code.cache_clear()
    assert origin.code(kind) != first
    points["atso"] = EntryPoint("atso", "their_package.methods:PiModel", "atso_bench.methods")
    with pytest.raises(ValueError, match="there is a method atso already"):
        registry.names("methods")


def test_an_order_takes_its_plug_ins_along_and_refuses_other_code(mine, tmp_path, monkeypatch):
    plugins.join([mine])
    given = order.Order(tmp_path)
    given.write()
    monkeypatch.setenv(plugins.VARIABLE, "")
    assert order.read(tmp_path, given.id).plugins == [str(mine)]
    assert plugins.folders() == [mine]
    write(mine, "methods/pi_model.py", (mine / "methods/pi_model.py").read_text("utf-8") + "\nx = 1\n")
    with pytest.raises(ValueError, match=r"other software .*methods/pi_model\.py"):
        order.read(tmp_path, given.id)


@pytest.mark.slow
def test_spawned_processes_and_single_tasks_know_plug_ins(mine, tmp_path):
    write(mine, "datasets/tiny.py", DATASET)
    data = {"ATSO_BENCH_DATA": str(tmp_path / "data"), "OMP_NUM_THREADS": "1"}
    grid = [
        "-m",
        "pi-model",
        "-f",
        "50",
        "-d",
        "tiny",
        "--budget",
        "smoke",
        "--plugins",
        mine,
        "--out",
        tmp_path / "out",
    ]
    planned = command("plan", *grid, "--format", "jsonl", "--workers", 1, **data)
    assert planned.returncode == 0, planned.stderr
    (task,) = [json.loads(line) for line in planned.stdout.splitlines()]
    assert task["command"][-4:-2] == ["--plugins", str(mine)]
    done = command(*task["command"][1:], **data)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "out/records").rglob("*.json")
    record = json.loads(file.read_text("utf-8"))
    assert record["environment"]["plugins"] == ["methods/pi_model.py", "datasets/tiny.py"]
    again = command("run", *grid, "-s", "0,1", "--device", "cpu,cpu", "--workers", 1, **data)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "already done" in again.stdout
    assert (tmp_path / "out/report/index.html").is_file()
