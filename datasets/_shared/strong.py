"""How strong a strong view is, by UniMatch's code."""

from __future__ import annotations

JITTER, HUE = 0.5, 0.25


JITTERED, GREY, BLURRED = 0.8, 0.2, 0.5
"""Chances of a sample."""
