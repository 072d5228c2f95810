"""What a PNG file says of itself before it is decoded."""

from __future__ import annotations

import struct
from pathlib import Path


def header(path: Path) -> tuple[int, int, int, int] | None:
    """Width, height, bit depth and colour type of a PNG file; None if it is not one."""
    try:
        with path.open("rb") as file:
            start = file.read(26)
    except OSError:
        return None
    if len(start) < 26 or start[:8] != b"\x89PNG\r\n\x1a\n" or start[12:16] != b"IHDR":
        return None
    width, height, depth, colour = struct.unpack(">IIBB", start[16:])
    return width, height, depth, colour
