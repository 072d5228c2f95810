"""The precision that a device trains in is a part of a phase's key, but for a CPU's, whose keys stay what they were."""

from __future__ import annotations

import contextlib

import pytest
import torch
from toy import ToyDataset

from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.store.stages import weights_digest
from atso_bench.benchmark.training.execution import PLAIN
from atso_bench.benchmark.training.keys import Keys
from atso_bench.benchmark.training.precision import precision


def ground(device: str) -> dict[str, object]:
    data = ToyDataset()
    task = data.task(data.pool[:4], data.pool, Budget.parse("smoke"), {})
    return Keys(task, Budget.parse("smoke"), 0, torch.device(device), PLAIN, None, weights_digest)._ground


def test_a_card_without_bfloat16_shares_no_phase_with_one_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    found = []
    for native in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True, has=native: has)
        found.append(ground("cuda:0"))
    assert [each["precision"] for each in found] == ["bfloat16", "float16"]
    assert [{**each, "precision": ""} for each in found[:1]] == [{**each, "precision": ""} for each in found[1:]]


def test_a_cpus_keys_are_those_from_before_there_was_a_precision() -> None:
    assert set(ground("cpu")) == {"version", "software", "device", "task"}
    assert precision(torch.device("cpu")) == "float32"
