"""The moving average that is kept beside every training where there is a validation set, and its scores."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from fitting import METHODS, STEPS, TOY
from records import blank, make, write
from torch import nn

from atso_bench.benchmark import registry
from atso_bench.benchmark.machine.progress import silent
from atso_bench.benchmark.run import Bench, execute
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.splits import make_split
from atso_bench.benchmark.store.record import Record
from atso_bench.benchmark.store.stages import Stages, weights_digest
from atso_bench.benchmark.task import Pool, TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.average import DECAY
from atso_bench.reports.data.frame import read

SPEC = RunSpec(TOY.name, "supervised", "10", 0, Budget.parse(str(STEPS)), validation=20)


def fitted(name, folder, averaging, **options):
    """The result and the trainer."""
    method, split = registry.method(name, options), make_split(TOY, SPEC)
    task = TOY.task(split.labelled, (*split.labelled, *split.unlabelled), SPEC.budget, {})
    trainer = Trainer(task, SPEC.budget, 0, Stages(folder), method=method, averaging=averaging)
    pools = Pool(split.labelled, task.images, task.labels), Pool(split.unlabelled, task.images)
    return method.fit(trainer, TrainData(*pools)), trainer


@pytest.mark.parametrize("name", METHODS)
def test_the_average_changes_no_result_and_stands_beside_it(name, tmp_path):
    plain, alone = fitted(name, tmp_path / "plain", averaging=False)
    result, trainer = fitted(name, tmp_path / "averaged", averaging=True)
    assert weights_digest(result) == weights_digest(plain)
    assert [phase.key for phase in trainer.phases] == [phase.key for phase in alone.phases]
    assert alone.student_and_average(plain) == {}
    found = trainer.student_and_average(result)
    assert set(found) == {"student", "average"}
    assert any(module is result for module in found.values())
    assert weights_digest(found["student"]) != weights_digest(found["average"])
    assert found["student"].state_dict().keys() == found["average"].state_dict().keys()


def test_it_is_the_average_of_the_weights_after_each_step(tmp_path, monkeypatch):
    from atso_bench.benchmark.training.loop import Training

    weights, one_step = [], Training._one_step

    def watched(training, batch):
        one_step(training, batch)
        weights.append(nn.utils.parameters_to_vector(training.job.model.parameters()).detach().double())

    monkeypatch.setattr(Training, "_one_step", watched)
    result, trainer = fitted("supervised", tmp_path, averaging=True)
    expected = torch.zeros_like(weights[0])
    for step, each in enumerate(weights, start=1):
        decay = min(1 - 1 / (step + 1), DECAY)
        begin = nn.utils.parameters_to_vector(trainer.new_model().parameters()).double() if step == 1 else expected
        expected = decay * begin + (1 - decay) * each
    average = nn.utils.parameters_to_vector(trainer.student_and_average(result)["average"].parameters()).double()
    assert torch.allclose(average, expected, atol=1e-6)


def test_an_interrupted_or_finished_training_gives_the_same_average(tmp_path, monkeypatch):
    from atso_bench.benchmark.training import loop

    result, trainer = fitted("supervised", tmp_path / "whole", averaging=True)
    expected = weights_digest(trainer.student_and_average(result)["average"])
    result, trainer = fitted("supervised", tmp_path / "whole", averaging=True)  # from the store
    assert trainer.phases[0].reused
    assert weights_digest(trainer.student_and_average(result)["average"]) == expected

    save = loop.Training._save

    def dies(training, folder, clock):
        save(training, folder, clock)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(loop.Training, "_save", dies)
        with pytest.raises(KeyboardInterrupt):
            fitted("supervised", tmp_path / "died", averaging=True)
    result, trainer = fitted("supervised", tmp_path / "died", averaging=True)
    assert weights_digest(trainer.student_and_average(result)["average"]) == expected


def test_what_was_learnt_before_there_were_averages_has_none(tmp_path):
    fitted("supervised", tmp_path, averaging=False)
    result, trainer = fitted("supervised", tmp_path, averaging=True)
    assert trainer.phases[0].reused
    assert trainer.student_and_average(result) == {}


def test_a_result_of_several_trainings_has_none(tmp_path):
    result, trainer = fitted("atso", tmp_path, averaging=True, final="ensemble", generations=1)
    assert trainer.student_and_average(result) == {}


@pytest.mark.parametrize("name", ["supervised", "supervised-ema"])
def test_the_record_has_both_scores_and_one_is_the_results(name, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="": TOY)
    spec = replace(SPEC, method=name, scored="validation")
    record = execute(spec, Bench(tmp_path, "cpu", 0, silent()))
    assert set(record.on_validation) == {"result", "student", "average"}
    assert record.on_validation["result"] == record.score
    assert record.on_validation["student" if name == "supervised" else "average"] == record.score
    assert Record.read(tmp_path / "records" / spec.path).on_validation == record.on_validation
    assert execute(replace(spec, validation=0, scored="test"), Bench(tmp_path, "cpu", 0, silent())).on_validation == {}


def test_the_report_shows_what_the_average_gains(tmp_path):
    scores = {"student": 0.5, "average": 0.6}
    write(tmp_path, make("supervised", on_validation=scores), make("atso", on_validation={"student": math.nan}))
    (chapter,) = blank(read(tmp_path).groups())
    (table,) = next(part for part in chapter.section.sections if part.title == "Student and average").parts
    assert [[cell.text for cell in row][1:] for row in table.rows] == [["supervised", "0.500", "0.600", "+0.100", "1"]]
