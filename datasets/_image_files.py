"""Whether a file is whole, as `benchmark.image_files` finds out for all commands."""

from atso_bench.benchmark.image_files import PACKED, file_problem, memory_bytes

__all__ = ["PACKED", "file_problem", "memory_bytes"]
