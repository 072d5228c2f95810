"""Weighted logits of overlapping tiles, added up plane by plane; finished planes are handed on to make room."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

ROOM = 1 << 28
"""Bytes of planes that are kept at once, if a tile does not need more: a small volume is one piece."""
PIECE = 1 << 26
"""Bytes of the logits that are handed out at once; at least one plane."""

LARGE = 1 << 18
"""Logits of a tile that are added class by class on a CPU: at once, torch copies the sums in single precision."""


class Sums:
    """The sums of nnU-Net over a volume's tiles, in its order and precision, of the planes that tiles still come to.

    Tiles come in the order of their first plane. So the memory is that of the planes of one tile, however many planes
    the volume has.

    Attributes:
        device: where the sums are; the CPU if the asked device has no room for them.
    """

    def __init__(
        self,
        heads: int,
        shape: Sequence[int],
        patch: Sequence[int],
        device: torch.device,
        inner: Sequence[slice],
    ) -> None:
        """Make room.

        Args:
            heads: K.
            shape: of the volume, ``(*spatial)``, padded to at least a tile.
            patch: of a tile; one of two axes lies in one plane.
            device: where the sums should be.
            inner: what is left of the volume without its padding.
        """
        self.planes, self.first, self.inner = shape[0], 0, inner
        kept, self.step = _depths(heads, shape, patch)
        try:
            self._make((heads, kept, *shape[1:]), device)
        except torch.OutOfMemoryError:
            if device.type == "cpu":
                raise
            self._make((heads, kept, *shape[1:]), torch.device("cpu"))

    @staticmethod
    def needed(heads: int, shape: Sequence[int], patch: Sequence[int]) -> int:
        """Bytes that the sums take, with a tile's logits and their mirrored ones, and the piece that is handed out."""
        kept, step = _depths(heads, shape, patch)
        return 2 * math.prod(shape[1:]) * ((heads + 1) * kept + heads * step) + 12 * heads * math.prod(patch)

    def _make(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.total = torch.zeros(shape, dtype=torch.half, device=device)
        self.weights = torch.zeros(shape[1:], dtype=torch.half, device=device)
        self.device = device

    def leave_device(self) -> None:
        """Go on on the CPU, so that the device has room for the network."""
        self.device = torch.device("cpu")
        self.total, self.weights = self.total.cpu(), self.weights.cpu()
        torch.cuda.empty_cache()

    def add(self, place: Sequence[int | slice], tile: Tensor, gaussian: Tensor) -> None:
        """Add the weighted logits ``(K, *patch)`` of the tile at ``place``, for which there must be room.

        The logits may be overwritten.
        """
        first = place[0]
        at = first - self.first if isinstance(first, int) else slice(first.start - self.first, first.stop - self.first)
        room = self.total[(slice(None), at, *place[1:])]
        if self.device.type == "cpu" and tile.numel() > LARGE:
            for summed, one in zip(room, tile, strict=True):
                summed.copy_(one.add_(summed))
        else:
            room += tile
        self.weights[(at, *place[1:])] += gaussian

    def whole_before(self, first: int | slice | None) -> Iterator[Tensor]:
        """If there is no room for a tile in these first planes, hand out the logits before it; None: all of them."""
        if first is None:
            yield from self._pieces(self.planes - self.first)
            return
        start, stop = (first, first + 1) if isinstance(first, int) else (first.start, first.stop)
        if stop - self.first > self.weights.shape[0]:
            done = start - self.first
            yield from self._pieces(done)
            self._forget(done)

    def _pieces(self, count: int) -> Iterator[Tensor]:
        """The logits of the first ``count`` planes that are kept, without the padding."""
        outer = self.inner[0]
        for begin in range(0, count, self.step):
            end = min(begin + self.step, count)
            planes = self.total[:, begin:end]
            planes /= self.weights[begin:end]
            low, high = max(begin, outer.start - self.first), min(end, outer.stop - self.first)
            if low < high:
                piece = self.total[(slice(None), slice(low, high), *self.inner[1:])].to("cpu", copy=True)
                least, most = piece.aminmax()
                if not (torch.isfinite(least) and torch.isfinite(most)):
                    raise RuntimeError("the network's logits overflow half precision; its weights have diverged")
                yield piece

    def _forget(self, count: int) -> None:
        """Drop the first planes and move the others up; one by one, which takes no second copy of them."""
        kept = self.weights.shape[0]
        for plane in range(count, kept):
            self.total[:, plane - count] = self.total[:, plane]
            self.weights[plane - count] = self.weights[plane]
        self.total[:, kept - count :] = 0
        self.weights[kept - count :] = 0
        self.first += count


def _depths(heads: int, shape: Sequence[int], patch: Sequence[int]) -> tuple[int, int]:
    """How many planes are kept, and handed out at once."""
    deep = patch[0] if len(patch) == len(shape) else 1
    plane = 2 * heads * math.prod(shape[1:])
    return min(shape[0], max(deep, ROOM // plane)), min(shape[0], max(1, PIECE // plane))
