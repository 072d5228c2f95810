"""Pseudo labels are written beside the prediction of the next case, and none of them is lost."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import ToyDataset, ToyTask

from atso_bench.benchmark import registry
from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.task import Pool
from atso_bench.benchmark.trainer import Trainer

TOY = ToyDataset()


def labelled(folder: Path) -> Any:
    task = TOY.task(TOY.pool[:2], TOY.pool, Budget.parse("4"), {})
    trainer = Trainer(task, Budget.parse("4"), 0, Stages(folder), method=registry.method("self-learning", {}))
    return trainer.predict(trainer.new_model(), Pool(TOY.pool[2:8], task.images), phase="labels")


def test_the_next_case_is_predicted_while_a_label_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predict, write, begun, cases = ToyTask.predict, Stages.write_label, [threading.Event() for _ in range(6)], []
    waited: list[bool] = []

    def predicting(*given: Any, **more: Any) -> Any:
        begun[len(cases)].set()
        cases.append(1)
        return predict(*given, **more)

    def writing(folder: Path, label: np.ndarray) -> Any:
        index = len(waited)
        waited.append(index == 5 or begun[index + 1].wait(20))
        return write(folder, label)

    monkeypatch.setattr(ToyTask, "predict", predicting)
    monkeypatch.setattr(Stages, "write_label", staticmethod(writing))
    found = labelled(tmp_path)
    assert waited == [True] * 6
    assert tuple(found) == TOY.pool[2:8]


def test_a_label_that_cannot_be_written_ends_the_phase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, write = labelled(tmp_path / "whole"), Stages.write_label

    written: list[Any] = []

    def full(folder: Path, label: np.ndarray) -> Any:
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(label)
        return write(folder, label)

    with monkeypatch.context() as patch:
        patch.setattr(Stages, "write_label", staticmethod(full))
        with pytest.raises(OSError, match="No space left"):
            labelled(tmp_path / "full")
    again = labelled(tmp_path / "full")
    assert all(np.array_equal(again[name], whole[name]) for name in whole)
