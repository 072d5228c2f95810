"""The report's folder: what is written into it, and what an earlier report left there."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from atso_bench.benchmark.store.files import atomic
from atso_bench.reports.figures.drawing import Drawing, in_page
from atso_bench.reports.figures.overlays import Tile
from atso_bench.reports.pages.latex import to_latex
from atso_bench.reports.pages.page import Picture, Table

_OURS = re.compile(r"(.+-[0-9a-f]{12}|critical-difference-.+)\.(svg|png|jpeg|tex)")


class Files(dict[str, bytes]):
    """Files to lie beside the page, by their path below the report's folder."""

    def picture(self, drawn: Drawing, group: str = "") -> Picture:
        """A figure as SVG and PNG beside the page, and inside it; of one comparison, or of all."""
        stem = f"figures/{drawn.name}-{group}" if group else f"figures/{drawn.name}"
        self[f"{stem}.png"] = drawn.png
        self[f"{stem}.svg"] = drawn.svg
        return Picture(f"{stem}.svg", in_page(drawn.svg), drawn.alt)

    def tile(self, tile: Tile, name: str, group: str) -> Picture:
        """A small picture of a case, beside the page and inside it."""
        file = f"figures/{name}-{group}.{tile.kind}"
        self[file] = tile.content
        uri = f"data:image/{tile.kind};base64,{base64.b64encode(tile.content).decode()}"
        return Picture(file, uri, tile.words)

    def latex(self, table: Table, name: str, group: str) -> None:
        """A table for a paper."""
        self[f"tables/{name}-{group}.tex"] = to_latex(table, f"tab:{name}-{group}").encode()

    def write(self, folder: Path) -> None:
        """Write all, each whole or not at all; what was left of records that are gone is removed.

        It would be taken for some of this report's.

        Raises:
            ValueError: if a folder is a link, for this writes and removes files in it.
        """
        for inner in (folder / "figures", folder / "tables"):
            if inner.is_symlink():
                raise ValueError(f"{inner} is a link; remove it: the report writes there and removes old figures")
        for name, content in self.items():
            with atomic(folder / name) as partial:
                partial.write_bytes(content)
        for file in (*folder.glob("figures/*"), *folder.glob("tables/*")):
            if file.relative_to(folder).as_posix() not in self and _OURS.fullmatch(file.name):
                file.unlink()
