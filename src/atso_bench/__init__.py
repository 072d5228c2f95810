"""A fair benchmark of semi-supervised segmentation. The four folders beside this file are links to the top level."""

__version__ = "0.2.0"
