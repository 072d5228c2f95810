"""The report's folder: what is written into it, and what an earlier report left there."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from atso_bench.benchmark.record import atomic
from atso_bench.reports.drawing import Drawing, in_page
from atso_bench.reports.frame import Group
from atso_bench.reports.latex import to_latex
from atso_bench.reports.overlays import Tile
from atso_bench.reports.page import Picture, Table

_OURS = re.compile(r"(.+-[0-9a-f]{12}|critical-difference-.+)\.(svg|png|jpeg|tex)")


class Folder:
    """Writes files whole or not at all, and remembers which."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written: set[Path] = set()

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.path / name
        with atomic(path) as partial:
            partial.write_bytes(content.encode() if isinstance(content, str) else content)
        self._written.add(path)
        return path

    def picture(self, drawn: Drawing, group: str = "") -> Picture:
        """A figure as SVG and PNG beside the page, and inside it; of one comparison, or of all."""
        stem = f"figures/{drawn.name}-{group}" if group else f"figures/{drawn.name}"
        self.write(f"{stem}.png", drawn.png)
        self.write(f"{stem}.svg", drawn.svg)
        return Picture(f"{stem}.svg", in_page(drawn.svg), drawn.alt)

    def tile(self, tile: Tile, name: str, group: str) -> Picture:
        """A small picture of a case, beside the page and inside it."""
        file = f"figures/{name}-{group}.{tile.kind}"
        self.write(file, tile.content)
        uri = f"data:image/{tile.kind};base64,{base64.b64encode(tile.content).decode()}"
        return Picture(file, uri, tile.words)

    def latex(self, table: Table, name: str, group: Group) -> None:
        """A table for a paper."""
        self.write(f"tables/{name}-{group.name}.tex", to_latex(table, f"tab:{name}-{group.name}"))

    def remove_old(self) -> None:
        """Figures and tables of records that are gone would be taken for some of this report's."""
        for file in (*self.path.glob("figures/*"), *self.path.glob("tables/*")):
            if file not in self._written and _OURS.fullmatch(file.name):
                file.unlink()
