"""A fair benchmark of semi-supervised segmentation. The four folders beside this file are links to the top level.

The Python interface (docs/python.md) is imported when it is first asked for: ``import atso_bench`` costs nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atso_bench.benchmark.python.answers import Comparison, Plan, Results, Scores
    from atso_bench.benchmark.python.calls import compare, evaluate, plan, read, run

__version__ = "0.2.0"
__all__ = ["Comparison", "Plan", "Results", "Scores", "compare", "evaluate", "plan", "read", "run"]

if os.environ.get("ATSO_BENCH_PLUGINS"):  # in every process, before anything is looked for or unpickled
    from atso_bench.benchmark import plugins as _plugins

    _plugins.join()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from atso_bench.benchmark.python import answers, calls

    return getattr(answers if name[0].isupper() else calls, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
