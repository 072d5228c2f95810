"""Which plans are built at all: nnU-Net imports what a plan names and calls it with what the plan holds.

Every entry that reaches nnU-Net must be known here, by its name and by the kind of its value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from atso_bench.datasets._volumes.description import READERS

Check = Callable[[Any], bool]

_NETWORKS = re.compile(
    r"dynamic_network_architectures\.architectures\.(unet|residual_unet)\.(PlainConvUNet|ResidualEncoderUNet)"
)
_LAYERS = re.compile(
    r"torch\.nn(\.modules\.(conv|instancenorm|batchnorm|normalization|dropout|activation))?\."
    r"(Conv[23]d|InstanceNorm[23]d|BatchNorm[23]d|Dropout[23]?d?|LeakyReLU|ReLU|PReLU|ELU|GELU|SiLU|Mish)"
)
_IMPORTED = ("conv_op", "norm_op", "dropout_op", "nonlin")
_RESAMPLING = (
    "resample_data_or_seg_to_shape",
    "resample_torch_simple",
    "resample_torch_fornnunet",
    "no_resampling_hack",
)
_NORMALISATIONS = (
    "ZScoreNormalization",
    "CTNormalization",
    "NoNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
)
_WIDEST, _DEEPEST, _MOST_CONVOLUTIONS, _LARGEST_KERNEL = 4096, 12, 32, 15
_LONGEST = 100_000  # voxels along an axis, and millimetres of a voxel


def number(low: float, high: float) -> Check:
    """A check for a finite number in this range."""
    return lambda value: _is_number(value) and math.isfinite(value) and low <= value <= high


def whole(low: int, high: int) -> Check:
    """A check for a whole number in this range."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def one_of(*values: Any) -> Check:
    """A check for one of these values, of the same type."""
    return lambda value: any(type(value) is type(known) and value == known for known in values)


def named(pattern: re.Pattern[str]) -> Check:
    """A check for a dotted name."""
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def either(*checks: Check) -> Check:
    """A check that is content if one of these is."""
    return lambda value: any(check(value) for check in checks)


def listed(check: Check, lengths: tuple[int, int] = (1, _DEEPEST)) -> Check:
    """A check for a list of such values, of a length in this range."""
    return lambda value: isinstance(value, list) and lengths[0] <= len(value) <= lengths[1] and all(map(check, value))


def settings(**known: Check) -> Check:
    """A check for an object with these entries at most."""
    return lambda value: (
        isinstance(value, dict) and all(key in known and known[key](entry) for key, entry in value.items())
    )


_STATISTICS = ("mean", "median", "std", "min", "max", "percentile_99_5", "percentile_00_5")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    """Text that is kept and never looked up."""
    return isinstance(value, str) and len(value) < 1000


def _are_intensities(value: Any) -> bool:
    channel = settings(**dict.fromkeys(_STATISTICS, _is_number))
    return isinstance(value, dict) and all(map(channel, value.values()))


_BOOL, _NOTHING = one_of(True, False), one_of(None)
_COUNT = either(whole(1, _MOST_CONVOLUTIONS), listed(whole(1, _MOST_CONVOLUTIONS)))
_SIZES = listed(whole(1, _LARGEST_KERNEL), (2, 3))
_LAYER = named(_LAYERS)
_LAYER_SETTINGS = either(
    _NOTHING,
    settings(
        eps=number(0, 1),
        affine=_BOOL,
        momentum=either(_NOTHING, number(0, 1)),
        track_running_stats=_BOOL,
        inplace=_BOOL,
        negative_slope=number(-10, 10),
        alpha=number(0, 10),
        p=number(0, 1),
        num_parameters=whole(1, 1),
        init=number(-10, 10),
        approximate=one_of("none", "tanh"),
    ),
)
_RESAMPLING_SETTINGS = settings(
    is_seg=_BOOL,
    order=whole(0, 5),
    order_z=whole(0, 5),
    force_separate_z=either(_NOTHING, _BOOL),
    separate_z_anisotropy_threshold=number(0, 1000),
    num_threads=whole(1, 64),
    memefficient_seg_resampling=_BOOL,
    mode=one_of("linear", "nearest", "nearest-exact"),
    aniso_axis_mode=one_of("linear", "nearest", "nearest-exact"),
)
_ARGUMENTS: dict[str, Check] = {
    "n_stages": whole(1, _DEEPEST),
    "features_per_stage": listed(whole(1, _WIDEST)),
    "conv_op": _LAYER,
    "kernel_sizes": either(whole(1, _LARGEST_KERNEL), listed(either(whole(1, _LARGEST_KERNEL), _SIZES))),
    "strides": listed(_SIZES),
    "n_conv_per_stage": _COUNT,
    "n_blocks_per_stage": _COUNT,
    "n_conv_per_stage_decoder": _COUNT,
    "conv_bias": _BOOL,
    "norm_op": either(_NOTHING, _LAYER),
    "norm_op_kwargs": _LAYER_SETTINGS,
    "dropout_op": either(_NOTHING, _LAYER),
    "dropout_op_kwargs": _LAYER_SETTINGS,
    "nonlin": _LAYER,
    "nonlin_kwargs": _LAYER_SETTINGS,
    "nonlin_first": _BOOL,
    "deep_supervision": _BOOL,
}
_CONFIGURATION: dict[str, Check] = {
    "inherits_from": _is_text,
    "data_identifier": _is_text,
    "preprocessor_name": one_of("DefaultPreprocessor"),
    "batch_size": whole(1, 100_000),
    "patch_size": listed(whole(1, _LONGEST), (2, 3)),
    "median_image_size_in_voxels": listed(number(0, _LONGEST), (2, 3)),
    "spacing": listed(number(1e-6, _LONGEST), (2, 3)),
    "normalization_schemes": listed(one_of(*_NORMALISATIONS), (1, 1000)),
    "use_mask_for_norm": listed(_BOOL, (1, 1000)),
    "resampling_fn_data": one_of(*_RESAMPLING),
    "resampling_fn_seg": one_of(*_RESAMPLING),
    "resampling_fn_probabilities": one_of(*_RESAMPLING),
    "resampling_fn_data_kwargs": _RESAMPLING_SETTINGS,
    "resampling_fn_seg_kwargs": _RESAMPLING_SETTINGS,
    "resampling_fn_probabilities_kwargs": _RESAMPLING_SETTINGS,
    "batch_dice": _BOOL,
    "previous_stage": either(_NOTHING, _is_text),
    "next_stage": either(_NOTHING, _is_text, listed(_is_text)),
    # of nnU-Net before 2.2, which it turns into an architecture
    "UNet_class_name": one_of("PlainConvUNet", "ResidualEncoderUNet"),
    "UNet_base_num_features": whole(1, _WIDEST),
    "unet_max_num_features": whole(1, _WIDEST),
    "n_conv_per_stage_encoder": listed(whole(1, _MOST_CONVOLUTIONS)),
    "n_conv_per_stage_decoder": listed(whole(1, _MOST_CONVOLUTIONS)),
    "num_pool_per_axis": listed(whole(0, _DEEPEST), (2, 3)),
    "pool_op_kernel_sizes": listed(_SIZES),
    "conv_kernel_sizes": listed(_SIZES),
}
_AXES = either(*(one_of(axes) for axes in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0])))
_PLANS: dict[str, Check] = {
    "dataset_name": _is_text,
    "plans_name": _is_text,
    "original_median_spacing_after_transp": listed(number(0, _LONGEST), (3, 3)),
    "original_median_shape_after_transp": listed(number(0, _LONGEST), (3, 3)),
    "image_reader_writer": one_of(*READERS),
    "transpose_forward": _AXES,
    "transpose_backward": _AXES,
    "experiment_planner_used": _is_text,
    "label_manager": one_of("LabelManager"),
    "foreground_intensity_properties_per_channel": _are_intensities,
    "foreground_intensity_properties_by_modality": _are_intensities,
}
_NEEDED = ("dataset_name", "image_reader_writer", "transpose_forward", "transpose_backward", "configurations")


def check_plans(plans: Mapping[str, Any]) -> None:
    """Refuse plans that hold anything but known entries with values of their kind.

    Raises:
        ValueError: naming the entry.
    """
    if missing := [key for key in _NEEDED if key not in plans]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    _check_entries("", {key: value for key, value in plans.items() if key != "configurations"}, _PLANS)
    if [plans["transpose_forward"][axis] for axis in plans["transpose_backward"]] != [0, 1, 2]:
        raise ValueError("transpose_backward does not undo transpose_forward")
    configurations = plans["configurations"]
    if not isinstance(configurations, dict) or not configurations:
        raise ValueError(f"configurations is {_shown(configurations)}, it must hold an object for each")
    for name, configuration in configurations.items():
        if not isinstance(configuration, dict):
            raise ValueError(f"configuration {name} is {_shown(configuration)}, no object")
        _check_entries(f"{name}.", {k: v for k, v in configuration.items() if k != "architecture"}, _CONFIGURATION)
        if "architecture" in configuration:
            _check_architecture(f"{name}.", configuration["architecture"])


def _check_architecture(place: str, architecture: Any) -> None:
    keys = ("network_class_name", "arch_kwargs", "_kw_requires_import")
    if not isinstance(architecture, dict) or set(architecture) != set(keys):
        raise ValueError(f"{place}architecture must hold {', '.join(keys)}, got {_shown(architecture)}")
    name, arguments, imported = (architecture[key] for key in keys)
    _check_entries(place, {"network_class_name": name}, {"network_class_name": named(_NETWORKS)})
    _check_entries(
        place,
        {"_kw_requires_import": imported},
        {"_kw_requires_import": listed(one_of(*_IMPORTED), (0, len(_IMPORTED)))},
    )
    if not isinstance(arguments, dict):
        raise ValueError(f"{place}arch_kwargs is {_shown(arguments)}, no object")
    _check_entries(place, arguments, _ARGUMENTS)
    if left := [key for key in _IMPORTED if isinstance(arguments.get(key), str) and key not in imported]:
        raise ValueError(f"{place}_kw_requires_import lacks {', '.join(left)}, which name classes")
    if absent := [key for key in imported if key not in arguments]:
        raise ValueError(f"{place}_kw_requires_import names {', '.join(absent)}, which arch_kwargs lacks")


def _check_entries(place: str, entries: Mapping[str, Any], known: Mapping[str, Check]) -> None:
    for key, value in entries.items():
        if key not in known:
            raise ValueError(f"{place}{key} is an entry that is not trusted; known: {', '.join(known)}")
        if not known[key](value):
            raise ValueError(f"{place}{key} is {_shown(value)}, which is none of the names or values that are trusted")


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 200 else f"{text[:200]} ..."
