"""The contract held against one method, in words."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from atso_bench.benchmark import registry
from atso_bench.benchmark.contract.fitting import Fits
from atso_bench.benchmark.contract.methods import CHECKS, BrokenError


def broken(method: str, say: Callable[[str], object]) -> int:
    """Hold all checks against the method, each with a line; returns how many it does not obey.

    A method that cannot be fitted at all is said once.
    """
    registry.method(method, {})
    with tempfile.TemporaryDirectory() as folder:
        fits = Fits(method, Path(folder))
        try:
            fits.usual()
        except Exception as error:  # whatever a stranger's method does
            say(f"broken   {method} cannot be fitted on the toy: {_said(error)}")
            return 1
        return sum(_is_broken(check, fits, say) for check in CHECKS)


def _is_broken(check: Callable[[Fits], None], fits: Fits, say: Callable[[str], object]) -> bool:
    title = check.__name__.replace("_", " ")
    try:
        check(fits)
    except BrokenError as error:
        say(f"broken   {title}: {error}")
    except Exception as error:
        say(f"broken   {title}: {_said(error)}")
    else:
        say(f"ok       {title}")
        return False
    return True


def _said(error: Exception) -> str:
    """The error in a line, with the place of it that lies in a method's file."""
    where = next(iter(_places(error)), "")
    return f"{type(error).__name__}: {error}".splitlines()[0] + where


def _places(error: Exception) -> Iterator[str]:
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).parent.name == "methods" and not Path(frame.filename).name.startswith("_"):
            yield f" ({frame.filename}, line {frame.lineno})"
