"""``import atso_bench``: the grid, its results and other answers, from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toy import ToyDataset

import atso_bench
from atso_bench.benchmark import registry
from atso_bench.benchmark.machine import progress

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"datasets": "toy", "budget": 6, "device": "cpu", "workers": 0}


@pytest.fixture
def toy(monkeypatch):
    real, dataset = registry.dataset, ToyDataset()
    monkeypatch.setattr(registry, "dataset", lambda name, c="": dataset if name == "toy" else real(name, c))


def test_importing_it_imports_nothing_heavy():
    script = (
        "import sys, atso_bench; before = {'torch', 'pandas', 'typer', 'pydantic'} & set(sys.modules); "
        "assert not before, before; assert 'run' in dir(atso_bench) and callable(atso_bench.run); "
        "assert not {'torch', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        atso_bench.nothing  # noqa: B018


def test_every_name_is_there_and_says_what_it_is():
    for name in atso_bench.__all__:
        found = getattr(atso_bench, name)
        assert found.__doc__
        assert found.__module__.startswith("atso_bench.benchmark.python.")


def test_a_grid_ends_in_results_that_are_tables_a_page_and_a_report(tmp_path, toy, capsys):
    planned = atso_bench.plan("supervised", 10, seeds="0-1", out=tmp_path, **SMALL)
    assert planned.seconds > 0
    assert list(planned.frame()["done"]) == [False, False]
    assert "on one cpu device" in planned._repr_html_()
    capsys.readouterr()
    results = atso_bench.run("supervised", 10, seeds="0-1", out=tmp_path, quiet=True, **SMALL)
    assert capsys.readouterr().out == ""
    frame = results.frame()
    assert list(frame["seed"]) == [0, 1]
    assert list(frame["score"]) == [record.score for record in results]
    (row,) = results.summary().to_dict("records")
    assert (row["method"], row["count"]) == ("supervised", 2)
    assert row["mean"] == pytest.approx(frame["score"].mean())
    assert len(results.cases()) == 2 * 4 * 2  # seeds, test cases, classes
    assert "<table" in results._repr_html_()
    assert repr(results) == f"<2 runs in {tmp_path}>"
    assert repr(planned).startswith("<plan of 2 runs: ")
    assert results.report() == tmp_path / "report" / "index.html"
    again = atso_bench.read(tmp_path)
    assert [record.spec.key for record in again] == [record.spec.key for record in results]
    compared = atso_bench.compare(tmp_path, tmp_path)
    assert compared.code == 0
    assert list(compared.frame()["word"]) == ["equal"]
    assert "Not worse" in str(compared)
    assert compared._repr_html_().startswith("<pre>")


def test_runs_that_fail_are_named_and_the_others_stand(tmp_path, toy, monkeypatch):
    kind = registry.load("methods", "cps")
    monkeypatch.setattr(kind, "fit", lambda *given: 1 / 0)
    results = atso_bench.run(["supervised", "cps"], "2cases", out=tmp_path, quiet=True, **SMALL)
    assert [record.spec.method for record in results] == ["supervised"]
    assert list(results.failures) == ["cps on toy, 2 cases, seed 0"]
    assert "failed" in results._repr_html_()


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"methods": "atsoo"}, LookupError, "Did you mean 'atso'"),
        ({"options": {"atso.subset": 1}}, ValueError, "Did you mean 'subsets'"),
        ({"budget": "smal"}, ValueError, "--budget must be one of"),
        ({"seeds": [0, "x"]}, ValueError, "--seed must be a whole number"),
        ({"fractions": 101}, ValueError, "at most 100"),
    ],
)
def test_a_wrong_argument_is_answered_as_on_the_command_line(given, error, said, tmp_path):
    with pytest.raises(error, match=said):
        atso_bench.run(**{"methods": "atso", "fractions": 10, "out": tmp_path, **given})


def test_a_word_that_plan_does_not_know_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="unexpected keyword argument 'seed_'"):
        atso_bench.plan("atso", 10, out=tmp_path, seed_=1)


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no records/"):
        atso_bench.read(tmp_path)


def test_arrays_are_scored_like_files(tmp_path):
    reference = np.zeros((4, 6, 6), np.uint8)
    reference[1:3, 2:5, 2:5] = 1
    prediction = reference.copy()
    prediction[1, 2, 2] = 2
    found = atso_bench.evaluate(prediction, reference, spacing=(2, 1, 1), classes=("background", "organ", "spot"))
    frame = found.frame().set_index("class")
    assert frame.loc["organ", "dice"] == pytest.approx(2 * 17 / (17 + 18))
    assert found.notes == ()
    assert "<table" in found._repr_html_()
    assert atso_bench.evaluate(prediction, reference).notes == ("no spacing was given: distances are in voxels",)
    with pytest.raises(ValueError, match="a label is 2, but classes names 2: background, organ"):
        atso_bench.evaluate(prediction, reference, classes=("background", "organ"))
    with pytest.raises(ValueError, match="prediction holds float64, not labels"):
        atso_bench.evaluate(prediction / 2, reference)
    with pytest.raises(ValueError, match="two folders or two arrays"):
        atso_bench.evaluate(tmp_path, reference)


def test_folders_are_scored_as_the_command_does(tmp_path):
    import SimpleITK as sitk

    for name in ("predicted", "true"):
        (tmp_path / name).mkdir()
        image = sitk.GetImageFromArray(np.ones((1, 3, 3), np.uint8))
        sitk.WriteImage(image, str(tmp_path / name / "a.nii.gz"))
    found = atso_bench.evaluate(tmp_path / "predicted", tmp_path / "true")
    assert found.frame()["dice"].tolist() == [1.0]


def test_a_notebook_gets_a_bar_that_moves_and_is_no_markup():
    shown: list[str] = []

    class Handle:
        def update(self, what):
            shown.append(what._repr_html_())

    form = progress.Notebook(lambda what, display_id: Handle())
    with form.phase("M0 <b>", 4, "steps") as bar:
        bar.advance(4, loss=0.5)
    assert '<progress value="4" max="4">' in shown[-1]
    assert "M0 &lt;b&gt;" in shown[-1]
    assert "loss 0.500" in shown[-1]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_notebook_in_the_docs_runs(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(ROOT / "docs" / "example.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    client.NotebookClient(notebook, timeout=1500, kernel_name="python3", resources=resources).execute()
    shown = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert "<progress" in shown
    assert "pi-model" in shown
    assert (tmp_path / "results/notebook/report/index.html").is_file()
