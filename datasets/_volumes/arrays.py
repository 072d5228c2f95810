"""Arrays on disk: written whole, opened without running what a file says."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atso_bench.benchmark.store.files import atomic


def write_array(path: Path, array: np.ndarray, patch: Sequence[int]) -> None:
    """Write compressed in blocks that suit reading patches; the file appears whole or not at all."""
    import blosc2
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params

    shape = array.shape if array.ndim == 4 else (1, *array.shape)
    blocks, chunks = (sizes[4 - array.ndim :] for sizes in comp_blosc2_params(shape, tuple(patch), array.itemsize))
    settings = {"codec": blosc2.Codec.LZ4HC, "clevel": 5, "filters": [blosc2.Filter.SHUFFLE], "nthreads": 1}
    with atomic(path) as partial:
        blosc2.asarray(
            np.ascontiguousarray(array), urlpath=str(partial), mode="w", chunks=chunks, blocks=blocks, cparams=settings
        )


def open_array(path: Path) -> Any:
    """A blosc2 array that decompresses what is sliced.

    Raises:
        OSError: if there is none, or something else than plain numbers. A file can ask ``blosc2.open`` for other files,
            for addresses on the network, and for Python code that it holds; what is used here knows numbers alone.
    """
    from blosc2 import NDArray, blosc2_ext

    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    try:
        array = blosc2_ext.open(str(path), "r", 0, dparams={"nthreads": 1})
        plain = isinstance(array, NDArray) and set(array.schunk.meta.keys()) <= {"b2nd"}
    except (RuntimeError, ValueError) as error:
        raise OSError(f"{path} is damaged: {error}") from error
    if not plain:
        raise OSError(f"{path} does not hold an array of numbers, so it is not opened")
    return array
