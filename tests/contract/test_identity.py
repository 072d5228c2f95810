"""No phase and no record is taken for another's: whatever a method may differ in is in its keys, by the trainer."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import grids
import pytest
import torch
from fitting import METHODS, TOY, fit
from toy import ToyDataset

from atso_bench.benchmark import done, registry
from atso_bench.benchmark.forecast.plan import forecast
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.record import Record
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.task import Pool
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training import origin
from atso_bench.benchmark.training.imitation import Imitation
from atso_bench.benchmark.training.keys import Keys
from atso_bench.benchmark.training.labels import Style
from atso_bench.benchmark.training.loop import Job

TWIN = '''
"""A method as CONTRIBUTING.md tells it: an option that weighs a loss, and not a word of identity."""

from pydantic import Field

from atso_bench.methods._settings import Settings
from atso_bench.methods._consistency import learn


class Twin(Settings):
    weight: float = Field(1, ge=0)

    def fit(self, trainer, data):
        model = trainer.new_model()

        def step(labelled, unlabelled, progress):
            loss = trainer.task.loss(model(labelled.image), labelled.label)
            return {"labelled": loss, "own": self.weight * model(unlabelled).square().mean()}

        return learn(trainer, data, model, step)
'''


def another(name: str, option: str) -> Any:
    """A value of an option that is not its default."""
    kind = registry.load("methods", name)
    default = kind.model_fields[option].default
    near = [not default] if isinstance(default, bool) else list(get_args(kind.model_fields[option].annotation))
    if not near:
        near = [default + 1, default - 1] if isinstance(default, int) else [default / 2, default * 2, default + 0.25]
    for value in near:
        with contextlib.suppress(ValueError):
            if value != default and registry.method(name, {option: value}):
                return value
    raise AssertionError(f"no other value of {name}.{option} was found")


@pytest.fixture
def asked(monkeypatch):
    """Keys of the method's own phases, and of everybody's, as they are asked for."""
    keys: dict[bool, list[str]] = {True: [], False: []}
    real = Keys._key

    def watched(self, **facts):
        key = real(self, **facts)
        keys["method" in facts["origin"]].append(key)
        return key

    monkeypatch.setattr(Keys, "_key", watched)
    return keys


FEW = ToyDataset(cases=12)  # with 2 labelled and 8 unlabelled ones


@pytest.fixture(scope="module")
def stores():
    """By method a store that several runs use, and the keys of the default's own phases."""
    return {}


OPTIONS = [(name, option) for name in METHODS for option in registry.load("methods", name).model_fields]


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_another_option_takes_no_phase_of_the_methods_own(name, option, asked, stores, tmp_path):
    """With a store that others used the result is the one without; own phases that are alike are declared so."""
    if name not in stores:
        stores[name] = tmp_path / "used", set(fit(name, tmp_path / "used", FEW, "2cases") and asked[True])
        asked[True].clear()
    (store, default), changed = stores[name], {option: another(name, option)}
    used = fit(name, store, FEW, "2cases", **changed)
    declared = option in registry.load("methods", name).after_training
    assert bool(default & set(asked[True])) == declared
    assert used[0] == fit(name, tmp_path / "fresh", FEW, "2cases", **changed)[0]


LATE = [(name, option) for name in METHODS for option in registry.load("methods", name).after_training]


@pytest.mark.parametrize(("name", "option"), LATE)
def test_an_option_that_a_method_says_to_read_after_training_changes_no_phase(name, option, tmp_path):
    assert option in registry.load("methods", name).model_fields
    found = []
    for number, options in enumerate(({}, {option: another(name, option)})):
        _, trainer, _ = fit(name, tmp_path / str(number), **options)
        files = [Stages.load(Stages(tmp_path / str(number)).folder(phase.key) / "model.pt") for phase in trainer.phases]
        found.append([{**state} for file in files if file for model in file["models"] for state in [model]])
    for one, other in zip(*found, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_m0_is_everybodys_and_what_a_method_adds_is_not(asked, tmp_path):
    fit("supervised", tmp_path, parity="phase")
    assert len(asked[False]) == 1
    assert not asked[True]
    fit("st-plus-plus", tmp_path, parity="phase")  # it keeps copies of M0 on the way
    assert len(asked[True]) == 1


# a method of somebody's own


@pytest.fixture
def twin(tmp_path, monkeypatch):
    """Puts a method file beside the others; again with other text it is the edited file, as a new process reads it."""
    package = importlib.import_module("atso_bench.methods")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / "mine")])
    (tmp_path / "mine").mkdir()

    def write(text: str = TWIN, file: str = "twin.py") -> None:
        (tmp_path / "mine" / file).write_text(text, encoding="utf-8")
        for name in ("twin", "_mine"):
            sys.modules.pop(f"atso_bench.methods.{name}", None)
        importlib.invalidate_caches()
        sys.path_importer_cache.clear()
        origin._code.cache_clear()

    yield write
    for name in ("twin", "_mine"):
        sys.modules.pop(f"atso_bench.methods.{name}", None)


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(registry, "dataset", lambda name, c="2d": ToyDataset())


def run(folder: Path, **options: Any) -> Record:
    spec = RunSpec("toy", "twin", "10", 0, Budget.parse("14"), options=options)
    assert grids.run([spec], folder, ["cpu"], 0, fresh=False) == 0
    return Record.read(folder / "records" / spec.path)


def test_options_of_a_method_that_says_nothing_of_identity_are_told_apart(twin, toy, tmp_path):
    """Seen: the second run trained nothing, took the first one's phase, and its record said ``weight: 50``."""
    twin()
    found = [run(tmp_path / "out", weight=weight) for weight in (0.0, 50.0)]
    alone = run(tmp_path / "alone", weight=50.0)
    assert found[0].cases != found[1].cases == alone.cases
    assert not found[1].phases[0].reused


def test_an_edited_method_is_another_method_and_its_record_does_not_count(twin, toy, tmp_path, capsys):
    twin()
    first = run(tmp_path / "out", weight=1.0)
    twin(TWIN.replace("an option that weighs a loss", "other words  # and a comment"))
    capsys.readouterr()
    assert run(tmp_path / "out", weight=1.0) == first
    assert "already done" in capsys.readouterr().out
    twin(TWIN.replace("square()", "abs()"))
    second = run(tmp_path / "out", weight=1.0)
    assert "running again: the method's code or defaults have changed since" in capsys.readouterr().out
    assert not second.phases[0].reused
    assert second.cases != first.cases
    assert second.code != first.code


def test_a_helper_of_the_methods_file_belongs_to_it(twin):
    codes = set()
    for text in ("WEIGHT = 1\n", "WEIGHT = 2\n"):
        twin(text, "_mine.py")
        for line in ("from atso_bench.methods._mine import WEIGHT", "from ._mine import WEIGHT", "from . import _mine"):
            twin(f"{line}\n{TWIN}")
            codes.add(origin.code(registry.load("methods", "twin")))
    assert len(codes) == 6


def test_another_default_is_another_run_though_its_key_is_the_same(twin, toy, tmp_path):
    """A spec holds the options that differ from the defaults."""
    twin()
    first = run(tmp_path / "out")
    twin(TWIN.replace("Field(1, ge=0)", "Field(2, ge=0)"))
    second = run(tmp_path / "out")
    assert first.spec == second.spec
    assert (first.options, second.options) == ({"weight": 1.0}, {"weight": 2.0})


def test_a_record_from_before_there_was_a_hash_counts_as_long_as_its_options_are_the_same(twin, toy, tmp_path):
    twin()
    first = run(tmp_path / "out")
    path = tmp_path / "out" / "records" / first.spec.path
    raw = json.loads(path.read_text())
    del raw["code"]
    path.write_text(json.dumps(raw))
    assert Record.read(path).code == ""
    assert done.finished(tmp_path / "out", first.spec)
    path.write_text(json.dumps({**raw, "options": {"weight": 3.0}}))
    assert not done.finished(tmp_path / "out", first.spec)


def test_every_library_that_counts_is_there():
    for module in origin.LIBRARY:
        assert importlib.import_module(module)
    assert origin.LIBRARY[0] in dict(origin._files(iter(origin.LIBRARY), "atso_bench.methods"))


def test_bare_code_has_no_comments_and_no_docstrings_and_all_the_rest():
    source = '''"""Docstring,
    of two lines."""
x = "# no comment"  # a comment

def f(): "é"; return 1
class A:
    "docstring"
    y = """no
    # docstring"""
'''
    bare = ['x = "# no comment"', 'def f(): "é"; return 1', "class A:", '    y = """no', '    # docstring"""']
    assert origin.bare(source).split("\n") == bare


# what weights do not say


@pytest.fixture
def keys(tmp_path):
    """Makes the keys of a method's phases anew at each call."""
    task = TOY.task(TOY.pool[:2], TOY.pool, Budget.parse("14"), {})

    def make(method: Any = None) -> tuple[Keys, Any, Pool, Any]:
        method = method or registry.method("supervised", {})
        trainer = Trainer(task, Budget.parse("14"), 0, Stages(tmp_path), method=method)
        return trainer.keys, trainer.new_model(), Pool(TOY.pool[:2], task.images, task.labels), task

    return make


def frozen(model):
    model[0].requires_grad_(False)


def bent(model):
    model.act.negative_slope = 0.5


def hooked(model):
    model[0].register_forward_hook(lambda *given: None)


def patched(model):
    model.forward = lambda image: 2 * torch.nn.Sequential.forward(model, image)


def replaced(model):
    model.act = torch.nn.ReLU()


def switched(model):
    model.norm.wide = False


CHANGES = [frozen, bent, hooked, patched, replaced, switched]


@pytest.mark.parametrize("change", CHANGES)
def test_a_network_that_is_not_the_planned_one_is_the_methods_own(change, keys):
    """Its weights are the same, so that their hash says nothing."""
    methods = [registry.method("mean-teacher", {"weight": weight}) for weight in (1, 2)]
    found: dict[str, list[str]] = {"train": [], "predict": []}
    for method in methods:
        own, model, pool, task = keys(method)
        change(model)
        pools = {"labelled": pool}
        found["train"].append(own.train(Job(model, Imitation(task, model, pools, False), pools, 5, "M0"), 0))
        own, _, _, _ = keys(method)
        found["predict"].append(own.predict(model, pool, Style(soft=False, mirror=False)))
    assert len(set(found["train"])) == 2
    assert len(set(found["predict"])) == (1 if change is frozen else 2)


def test_the_planned_network_is_everybodys_before_and_after_training_and_as_a_copy(keys):
    found = set()
    for method in (registry.method("mean-teacher", {}), registry.method("atso", {})):
        own, model, pool, task = keys(method)
        for one in (model, deepcopy(model).eval()):
            pools = {"labelled": pool}
            found.add(own.train(Job(one, Imitation(task, one, pools, False), pools, 5, "M0"), 0))
    assert len(found) == 1


def test_nnunets_network_is_as_planned_again_after_it_has_trained_and_predicted(tiny, tmp_path):
    """It switches its heads on and off."""
    budget, labelled = Budget("smoke", 4), tiny.pool[:2]
    task = tiny.task(labelled, tiny.pool, budget, {"width": 2})
    trainer = Trainer(task, budget, 0, Stages(tmp_path), method=registry.method("self-learning", {}))
    pools = {"labelled": Pool(labelled, task.images, task.labels)}
    model = trainer.imitate(trainer.new_model(), pools, steps=2, phase="M0")
    trainer.predict(model, Pool(tiny.pool[2:3], task.images), phase="labels")
    assert trainer.keys.as_planned(model, pools.values(), learning=True)
    model.decoder.seg_layers[0].weight.requires_grad_(False)
    assert not trainer.keys.as_planned(model, pools.values(), learning=True)


def test_a_pools_order_its_images_and_whether_a_model_wrote_its_labels_count(keys):
    methods = [registry.method("mean-teacher", {"weight": weight}) for weight in (1, 2)]

    def key(method: Any, change: Any) -> str:
        own, model, pool, task = keys(method)
        pools = change(pool, task)
        return own.train(Job(model, Imitation(task, model, pools, False), pools, 5, "M0"), 0)

    changes = {
        "plain": lambda pool, task: {"a": pool, "b": pool},
        "other order": lambda pool, task: {"b": pool, "a": pool},
        "pseudo": lambda pool, task: {"a": pool, "b": replace(pool, pseudo=True)},
        "own images": lambda pool, task: {"a": pool, "b": replace(pool, images=dict(task.images))},
    }
    found = {name: {key(method, change) for method in methods} for name, change in changes.items()}
    assert [len(each) for each in found.values()] == [1, 1, 1, 2]
    assert len(set.union(*found.values())) == 5


def test_a_loss_that_is_given_other_networks_or_pools_than_the_training_is_the_methods_own(keys):
    methods = [registry.method("mean-teacher", {"weight": weight}) for weight in (1, 2)]

    def key(method: Any, which: int) -> str:
        own, model, pool, task = keys(method)
        other, pools = deepcopy(model), {"labelled": pool}
        fake = [Imitation(task, other, pools, False), Imitation(task, model, {"labelled": replace(pool)}, False)][which]
        return own.train(Job(model, fake, pools, 5, "M0"), 0)

    assert [len({key(method, which) for method in methods}) for which in (0, 1)] == [2, 2]


def test_what_a_method_has_seen_belongs_to_its_own_phases(keys):
    """A teacher in the loss is in no pool and in no optimiser: the phases before this one stand for it."""
    found = set()
    for ids in (TOY.pool[:2], TOY.pool[:3]):
        own, model, pool, task = keys(registry.method("mean-teacher", {}))
        own.predict(model, Pool(ids, task.images), Style(soft=False, mirror=False))
        found.add(own.train(Job(model, lambda batch, progress: {}, {"labelled": pool}, 5, "own"), 0))
    assert len(found) == 2


def test_a_phase_of_nobodys_own_is_refused(tmp_path):
    task = TOY.task(TOY.pool[:2], TOY.pool, Budget.parse("14"), {})
    trainer = Trainer(task, Budget.parse("14"), 0, Stages(tmp_path))
    pool = Pool(TOY.pool[:2], task.images, task.labels)
    with pytest.raises(RuntimeError, match="needs Trainer"):
        trainer.train(trainer.new_model(), lambda batch, progress: {}, {"labelled": pool}, steps=1, phase="own")


@pytest.mark.parametrize("method", ["mean-teacher", "cps", "st-plus-plus", "atso"])
def test_a_plan_finds_in_the_store_the_phases_that_a_run_left_there(method, toy, tmp_path):
    """It goes through the same keys, own phases and those of all methods."""
    spec = RunSpec("toy", method, "10", 0, Budget.parse("14"))
    grids.run([spec], tmp_path, ["cpu"], 0, fresh=False)
    path = tmp_path / "records" / spec.path
    made = {phase.key for phase in Record.read(path).phases if phase.key}
    path.unlink()
    (found,) = forecast([spec], tmp_path, "cpu", 0)
    assert set(found.stored) == made
