"""Which plans are built at all: nnU-Net imports what a plan names and calls it with what the plan holds.

Every entry that reaches nnU-Net must be known here, by its name and by the type of its value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import Required, TypedDict

from atso_bench.benchmark.reading.typed import STRICT, wrongs
from atso_bench.datasets._volumes.description import Reader

_WIDEST, _DEEPEST, _MOST_CONVOLUTIONS, _LARGEST_KERNEL = 4096, 12, 32, 15
_LONGEST = 100_000  # voxels along an axis, and millimetres of a voxel

_Text = Annotated[str, Field(max_length=999)]  # kept and never looked up
_Network = Annotated[
    str,
    Field(
        pattern=r"^dynamic_network_architectures\.architectures\.(unet|residual_unet)\.(PlainConvUNet|ResidualEncoderUNet)$"
    ),
]
_Layer = Annotated[
    str,
    Field(
        pattern=r"^torch\.nn(\.modules\.(conv|instancenorm|batchnorm|normalization|dropout|activation))?\."
        r"(Conv[23]d|InstanceNorm[23]d|BatchNorm[23]d|Dropout[23]?d?|LeakyReLU|ReLU|PReLU|ELU|GELU|SiLU|Mish)$"
    ),
]
_Import = Literal["conv_op", "norm_op", "dropout_op", "nonlin"]
_Resampling = Literal[
    "resample_data_or_seg_to_shape", "resample_torch_simple", "resample_torch_fornnunet", "no_resampling_hack"
]
_Normalisation = Literal[
    "ZScoreNormalization", "CTNormalization", "NoNormalization", "RescaleTo01Normalization", "RGBTo01Normalization"
]
_Mode = Literal["linear", "nearest", "nearest-exact"]

_Share = Annotated[float, Field(ge=0, le=1)]
_Slope = Annotated[float, Field(ge=-10, le=10)]
_Features = Annotated[int, Field(ge=1, le=_WIDEST)]
_Stages = Annotated[int, Field(ge=1, le=_DEEPEST)]
_Convolutions = Annotated[int, Field(ge=1, le=_MOST_CONVOLUTIONS)]
_Kernel = Annotated[int, Field(ge=1, le=_LARGEST_KERNEL)]
_Order = Annotated[int, Field(ge=0, le=5)]
_Length = Annotated[float, Field(ge=0, le=_LONGEST)]
_EachStage = Field(min_length=1, max_length=_DEEPEST)
_EachAxis = Field(min_length=2, max_length=3)
_EachChannel = Field(min_length=1, max_length=1000)
_Sizes = Annotated[list[_Kernel], _EachAxis]
_StageSizes = Annotated[list[_Sizes], _EachStage]
_StageConvolutions = Annotated[list[_Convolutions], _EachStage]
_Count = _Convolutions | _StageConvolutions
_Three = Annotated[list[_Length], Field(min_length=3, max_length=3)]
_Axes = Annotated[list[Annotated[int, Field(ge=0, le=2)]], Field(min_length=3, max_length=3)]


@with_config(STRICT)
class _LayerSettings(TypedDict, total=False):
    eps: _Share
    affine: bool
    momentum: _Share | None
    track_running_stats: bool
    inplace: bool
    negative_slope: _Slope
    alpha: Annotated[float, Field(ge=0, le=10)]
    p: _Share
    num_parameters: Annotated[int, Field(ge=1, le=1)]
    init: _Slope
    approximate: Literal["none", "tanh"]


@with_config(STRICT)
class _ResamplingSettings(TypedDict, total=False):
    is_seg: bool
    order: _Order
    order_z: _Order
    force_separate_z: bool | None
    separate_z_anisotropy_threshold: Annotated[float, Field(ge=0, le=1000)]
    num_threads: Annotated[int, Field(ge=1, le=64)]
    memefficient_seg_resampling: bool
    mode: _Mode
    aniso_axis_mode: _Mode


@with_config(STRICT)
class _Arguments(TypedDict, total=False):
    n_stages: _Stages
    features_per_stage: Annotated[list[_Features], _EachStage]
    conv_op: _Layer
    kernel_sizes: _Kernel | Annotated[list[_Kernel | _Sizes], _EachStage]
    strides: _StageSizes
    n_conv_per_stage: _Count
    n_blocks_per_stage: _Count
    n_conv_per_stage_decoder: _Count
    conv_bias: bool
    norm_op: _Layer | None
    norm_op_kwargs: _LayerSettings | None
    dropout_op: _Layer | None
    dropout_op_kwargs: _LayerSettings | None
    nonlin: _Layer
    nonlin_kwargs: _LayerSettings | None
    nonlin_first: bool
    deep_supervision: bool


@with_config(STRICT)
class _Architecture(TypedDict):
    network_class_name: _Network
    arch_kwargs: _Arguments
    _kw_requires_import: Annotated[list[_Import], Field(max_length=4)]


@with_config(STRICT)
class _Configuration(TypedDict, total=False):
    inherits_from: _Text
    data_identifier: _Text
    preprocessor_name: Literal["DefaultPreprocessor"]
    batch_size: Annotated[int, Field(ge=1, le=100_000)]
    patch_size: Annotated[list[Annotated[int, Field(ge=1, le=_LONGEST)]], _EachAxis]
    median_image_size_in_voxels: Annotated[list[_Length], _EachAxis]
    spacing: Annotated[list[Annotated[float, Field(ge=1e-6, le=_LONGEST)]], _EachAxis]
    normalization_schemes: Annotated[list[_Normalisation], _EachChannel]
    use_mask_for_norm: Annotated[list[bool], _EachChannel]
    resampling_fn_data: _Resampling
    resampling_fn_seg: _Resampling
    resampling_fn_probabilities: _Resampling
    resampling_fn_data_kwargs: _ResamplingSettings
    resampling_fn_seg_kwargs: _ResamplingSettings
    resampling_fn_probabilities_kwargs: _ResamplingSettings
    batch_dice: bool
    previous_stage: _Text | None
    next_stage: _Text | Annotated[list[_Text], _EachStage] | None
    architecture: _Architecture
    # of nnU-Net before 2.2, which it turns into an architecture
    UNet_class_name: Literal["PlainConvUNet", "ResidualEncoderUNet"]
    UNet_base_num_features: _Features
    unet_max_num_features: _Features
    n_conv_per_stage_encoder: _StageConvolutions
    n_conv_per_stage_decoder: _StageConvolutions
    num_pool_per_axis: Annotated[list[Annotated[int, Field(ge=0, le=_DEEPEST)]], _EachAxis]
    pool_op_kernel_sizes: _StageSizes
    conv_kernel_sizes: _StageSizes


@with_config(ConfigDict(extra="forbid", strict=True))  # NaN may stand there: none of them is used
class _Intensities(TypedDict, total=False):
    mean: float
    median: float
    std: float
    min: float
    max: float
    percentile_99_5: float
    percentile_00_5: float


@with_config(STRICT)
class _Plans(TypedDict, total=False):
    dataset_name: Required[_Text]
    plans_name: _Text
    original_median_spacing_after_transp: _Three
    original_median_shape_after_transp: _Three
    image_reader_writer: Required[Reader]
    transpose_forward: Required[_Axes]
    transpose_backward: Required[_Axes]
    experiment_planner_used: _Text
    label_manager: Literal["LabelManager"]
    foreground_intensity_properties_per_channel: dict[str, _Intensities]
    foreground_intensity_properties_by_modality: dict[str, _Intensities]
    configurations: Required[Annotated[dict[str, _Configuration], Field(min_length=1)]]


_PLANS = TypeAdapter(_Plans)


def check_plans(plans: Mapping[str, Any]) -> None:
    """Refuse plans that hold anything but known entries with values of their type.

    Raises:
        ValueError: naming the entry.
    """
    for wrong in wrongs(_PLANS, plans):
        if wrong.kind == "missing":
            raise ValueError(f"it lacks {wrong.place}")
        if wrong.kind == "extra_forbidden":
            raise ValueError(f"{wrong.place} is an entry that is not trusted; remove it")
        raise ValueError(
            f"{wrong.place} is {_shown(wrong.value)}, which is none of the names or values that are trusted"
        )
    if sorted(plans["transpose_forward"]) != [0, 1, 2]:
        raise ValueError(f"transpose_forward is {plans['transpose_forward']}, which is no order of the axes 0, 1 and 2")
    if [plans["transpose_forward"][axis] for axis in plans["transpose_backward"]] != [0, 1, 2]:
        raise ValueError("transpose_backward does not undo transpose_forward")
    for name, configuration in plans["configurations"].items():
        if "architecture" in configuration:
            _check_imports(f"configurations.{name}.architecture", configuration["architecture"])


def _check_imports(place: str, architecture: Mapping[str, Any]) -> None:
    """Each argument that names a class is imported, and nothing else."""
    arguments, imported = architecture["arch_kwargs"], architecture["_kw_requires_import"]
    named = [key for key in ("conv_op", "norm_op", "dropout_op", "nonlin") if isinstance(arguments.get(key), str)]
    if left := [key for key in named if key not in imported]:
        raise ValueError(f"{place}._kw_requires_import lacks {', '.join(left)}, which name classes")
    if absent := [key for key in imported if key not in arguments]:
        raise ValueError(f"{place}._kw_requires_import names {', '.join(absent)}, which arch_kwargs lacks")


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 200 else f"{text[:200]} ..."
