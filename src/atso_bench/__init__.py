"""A fair benchmark of semi-supervised segmentation. The four folders beside this file are links to the top level."""

import os

__version__ = "0.2.0"

if os.environ.get("ATSO_BENCH_PLUGINS"):  # in every process, before anything is looked for or unpickled
    from atso_bench.benchmark import plugins

    plugins.join()
