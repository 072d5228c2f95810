"""JSON that somebody else wrote, as `benchmark.user_files` reads it for all commands."""

from atso_bench.benchmark.user_files import is_printable, read_object

__all__ = ["is_printable", "read_object"]
