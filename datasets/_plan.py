"""nnU-Net's plan of a dataset: made from images alone, or the user's own; and the intensities that S allows to know."""

from __future__ import annotations

import copy
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atso_bench.datasets._raw import READERS, Case, Look, RawDataset
from atso_bench.datasets._storage import PREPROCESSED, RAW, RESULTS, environment, quiet

Plans = dict[str, Any]
_NETWORK = re.compile(
    r"dynamic_network_architectures\.architectures\.(unet|residual_unet)\.(PlainConvUNet|ResidualEncoderUNet)"
)
_LAYER = re.compile(
    r"torch\.nn(\.modules\.(conv|instancenorm|batchnorm|normalization|dropout|activation))?\."
    r"(Conv[123]d|InstanceNorm[123]d|BatchNorm[123]d|GroupNorm|LayerNorm|Dropout[123]?d?|LeakyReLU|ReLU|PReLU|ELU|GELU|SiLU|Mish)"
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
_INTENSITY_VOXELS = 100_000_000  # nnU-Net's 10e7 over the dataset; at most a hundredth of them from one case


def make_plans(raw: RawDataset, looks: Mapping[str, Look]) -> Plans:
    """Let nnU-Net's ExperimentPlanner plan from the images of these cases, and from no label.

    Args:
        raw: the dataset; only ``dataset.json`` and the image files of ``looks`` are shown to the planner.
        looks: what was seen of the images that training may use.
    """
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

    fingerprint = {
        "spacings": [look.spacing for look in looks.values()],
        "shapes_after_crop": [look.shape for look in looks.values()],
        "foreground_intensity_properties_per_channel": no_intensities(len(raw.json["channel_names"])),
        "median_relative_size_after_cropping": float(np.median([look.kept for look in looks.values()])),
    }
    listing = {name: {"images": [str(path) for path in raw.cases[name].images], "label": "none"} for name in looks}
    description = {**raw.json, "dataset": listing, "numTraining": len(listing)}
    name = raw.folder.name
    with tempfile.TemporaryDirectory() as folder:
        for root, file, content in (
            ("raw", "dataset.json", description),
            ("preprocessed", "dataset_fingerprint.json", fingerprint),
        ):
            Path(folder, root, name).mkdir(parents=True)
            Path(folder, root, name, file).write_text(json.dumps(content))
        paths = {RAW: f"{folder}/raw", PREPROCESSED: f"{folder}/preprocessed", RESULTS: None}
        # the planner sets torch's thread count to nnUNet_n_proc_DA, which must not be 0
        with environment({**paths, "nnUNet_n_proc_DA": "1"}), quiet():
            ExperimentPlanner(name).plan_experiment()
        plans: Plans = json.loads(Path(folder, "preprocessed", name, "nnUNetPlans.json").read_text())
    return plans


def read_plans(path: Path) -> Plans:
    """The user's own plans, after a look at every name in them that nnU-Net would import."""
    try:
        plans: Plans = json.loads(path.read_text(encoding="utf-8"))
        check_names(plans)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from error
    return plans


def check_names(plans: Plans) -> None:
    """Refuse plans that name anything but known networks, layers and functions: nnU-Net imports what they name.

    Raises:
        ValueError: naming the entry.
    """
    _check("image_reader_writer", plans["image_reader_writer"], READERS)
    _check("label_manager", plans.get("label_manager", "LabelManager"), ("LabelManager",))
    for name, configuration in plans["configurations"].items():
        for key, allowed in (
            ("preprocessor_name", ("DefaultPreprocessor",)),
            ("resampling_fn_data", _RESAMPLING),
            ("resampling_fn_seg", _RESAMPLING),
            ("resampling_fn_probabilities", _RESAMPLING),
            ("UNet_class_name", ("PlainConvUNet", "ResidualEncoderUNet")),
        ):
            if key in configuration:
                _check(f"{name}.{key}", configuration[key], allowed)
        for scheme in configuration.get("normalization_schemes", ()):
            _check(f"{name}.normalization_schemes", scheme, _NORMALISATIONS)
        if "architecture" in configuration:
            _check_architecture(name, configuration["architecture"])


def _check_architecture(name: str, architecture: Mapping[str, Any]) -> None:
    _check(f"{name}.network_class_name", architecture["network_class_name"], _NETWORK)
    for key in architecture["_kw_requires_import"]:
        _check(f"{name}._kw_requires_import", key, _IMPORTED)
    for key, value in architecture["arch_kwargs"].items():
        if isinstance(value, str):
            _check(f"{name}.{key}", value, _LAYER)


def _check(entry: str, value: Any, allowed: Sequence[str] | re.Pattern[str]) -> None:
    known = allowed.fullmatch(str(value)) if isinstance(allowed, re.Pattern) else value in allowed
    if not known:
        wanted = allowed.pattern if isinstance(allowed, re.Pattern) else ", ".join(allowed)
        raise ValueError(f"{entry} is {value!r}, which is none of the names that are trusted: {wanted}")


def configuration_of(plans: Plans, name: str) -> dict[str, Any]:
    """The configuration with what it inherits.

    Raises:
        ValueError: if the plans lack it, or if it is one stage of a cascade.
    """
    if name not in plans["configurations"]:
        raise ValueError(f"configuration {name!r} is not in the plans; they have {', '.join(plans['configurations'])}")
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    content: dict[str, Any] = PlansManager(plans).get_configuration(name).configuration
    if content.get("previous_stage"):
        raise ValueError(
            f"configuration {name!r} is a stage of a cascade, which is not supported; take 2d or 3d_fullres"
        )
    return content


def needs_intensities(plans: Plans, configuration: str) -> bool:
    """Whether the images' normalisation depends on labels, as nnU-Net's does for CT."""
    return "CTNormalization" in configuration_of(plans, configuration)["normalization_schemes"]


def with_intensities(plans: Plans, intensities: Mapping[str, Any]) -> Plans:
    plans = copy.deepcopy(plans)
    plans.pop("foreground_intensity_properties_by_modality", None)
    plans["foreground_intensity_properties_per_channel"] = dict(intensities)
    return plans


def no_intensities(channels: int) -> dict[str, dict[str, float]]:
    """What stands in plans where normalisation needs none; nnU-Net looks for the entries all the same."""
    return {str(channel): dict.fromkeys(_INTENSITY_KEYS, 0.0) for channel in range(channels)}


_INTENSITY_KEYS = ("mean", "median", "std", "min", "max", "percentile_99_5", "percentile_00_5")


def collect(case: Case, reader_class: type, voxels: int) -> list[np.ndarray]:
    """Foreground intensities of one labelled case by channel, as nnU-Net's fingerprint collects them."""
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

    files = [str(path) for path in case.images]
    found = DatasetFingerprintExtractor.analyze_case(files, str(case.label), reader_class, voxels)[2]
    return [np.asarray(values, dtype=np.float32) for values in found]


def intensities(cases: Sequence[Case], reader_class: type) -> dict[str, dict[str, float]]:
    """nnU-Net's intensity properties by channel, from these labelled cases alone.

    Raises:
        ValueError: if none of the cases has foreground.
    """
    voxels = _INTENSITY_VOXELS // max(100, len(cases))
    by_case = [collect(case, reader_class, voxels) for case in cases]
    properties = {}
    for channel in range(len(by_case[0])):
        values = np.concatenate([case[channel] for case in by_case])
        if not values.size:
            raise ValueError(
                f"none of the labelled cases ({', '.join(case.id for case in cases)}) has foreground, "
                "but CT normalisation takes its range from there; label more cases or take another seed"
            )
        low, median, high = np.percentile(values, (0.5, 50.0, 99.5))
        numbers = (values.mean(), median, values.std(), values.min(), values.max(), high, low)
        properties[str(channel)] = {key: float(number) for key, number in zip(_INTENSITY_KEYS, numbers, strict=True)}
    return properties
