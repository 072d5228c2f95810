"""Whether a user's plan fits the images, and the machine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_NEEDED = (
    "patch_size",
    "batch_size",
    "spacing",
    "normalization_schemes",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "resampling_fn_seg",
    "resampling_fn_seg_kwargs",
    "resampling_fn_probabilities",
    "resampling_fn_probabilities_kwargs",
    "batch_dice",
    "architecture",
)
_ARGUMENTS = ("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage_decoder")


def check_fit(configuration: Mapping[str, Any], channels: int, available: int) -> None:
    """Refuse a configuration that belongs to other images, or that no machine like this one can train.

    Args:
        configuration: with what it inherits.
        channels: channels of the dataset's images.
        available: bytes of memory.

    Raises:
        ValueError: naming the entry.
    """
    if missing := [key for key in _NEEDED if key not in configuration]:
        raise ValueError(f"the configuration lacks {', '.join(missing)}")
    arguments, patch = configuration["architecture"]["arch_kwargs"], configuration["patch_size"]
    plain = configuration["architecture"]["network_class_name"].endswith("PlainConvUNet")
    blocks, others = ("n_conv_per_stage", "n_blocks_per_stage")[:: 1 if plain else -1]
    if others in arguments:
        raise ValueError(f"arch_kwargs has {others}, which this network does not take")
    if missing := [key for key in (*_ARGUMENTS, blocks) if key not in arguments]:
        raise ValueError(f"arch_kwargs lacks {', '.join(missing)}")
    axes, stages = len(patch), arguments["n_stages"]
    for key in ("normalization_schemes", "use_mask_for_norm"):
        if len(configuration[key]) != channels:
            raise ValueError(f"{key} has {len(configuration[key])} entries, the images have {channels} channel(s)")
    if len(configuration["spacing"]) != axes:
        raise ValueError(f"spacing has {len(configuration['spacing'])} axes, patch_size {axes}")
    if f"Conv{axes}d" not in arguments["conv_op"] or any(
        isinstance(arguments.get(key), str) and not arguments[key].endswith((f"{axes}d", "Dropout"))
        for key in ("norm_op", "dropout_op")
    ):
        raise ValueError(f"patch_size has {axes} axes, but conv_op, norm_op or dropout_op is of another number")
    _check_stages(arguments, axes, stages)
    strides = [math.prod(stage[axis] for stage in arguments["strides"]) for axis in range(axes)]
    if wrong := [size for size, stride in zip(patch, strides, strict=True) if size % stride]:
        raise ValueError(
            f"patch_size {patch} must be divisible by {strides}, the product of the strides; {wrong} is not"
        )
    widest = arguments["features_per_stage"][0]
    # the least that a step keeps: two copies of the first stage's output, float32, for one patch
    needed = 8 * math.prod(patch) * widest
    if needed > available:
        raise ValueError(
            f"patch_size {patch} with {widest} features takes {needed / 1e9:.3g} GB for one patch at least, there are "
            f"{available / 1e9:.3g} GB of memory"
        )


def _check_stages(arguments: Mapping[str, Any], axes: int, stages: int) -> None:
    lengths: Sequence[tuple[str, int]] = (
        ("features_per_stage", stages),
        ("kernel_sizes", stages),
        ("strides", stages),
        ("n_conv_per_stage", stages),
        ("n_blocks_per_stage", stages),
        ("n_conv_per_stage_decoder", stages - 1),
    )
    for key, length in lengths:
        value = arguments.get(key)
        if isinstance(value, list) and len(value) != length:
            raise ValueError(f"{key} has {len(value)} entries, n_stages is {stages}")
        if isinstance(value, list) and any(isinstance(sizes, list) and len(sizes) != axes for sizes in value):
            raise ValueError(f"{key} is {value}, but patch_size has {axes} axes")
