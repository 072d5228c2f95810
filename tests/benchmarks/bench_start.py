"""How soon the command line answers: no heavy library is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from racing import sized, within

pytestmark = pytest.mark.benchmark(group="start")


def test_help_answers_at_once(race: Callable[..., Any]) -> None:
    def answer(code: str) -> Callable[[], Any]:
        return lambda: subprocess.run([sys.executable, "-c", code, "--help"], check=True, stdout=subprocess.DEVNULL)

    ours = answer("from atso_bench.benchmark.cli import app; app()")
    theirs = sized(answer("import torch"), None)
    race("atso-bench --help", ours, theirs, opponent="import torch", goal=within(0.4), rounds=9)
