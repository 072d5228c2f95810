"""nnU-Net's plan of a dataset: from images alone, or the user's own; and the intensities of the labelled cases."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atso_bench.benchmark.reading.image_files import memory_bytes
from atso_bench.benchmark.reading.user_files import read_object
from atso_bench.datasets._shared.storage import PREPROCESSED, RAW, RESULTS, quiet, variables
from atso_bench.datasets._volumes.examine import Look
from atso_bench.datasets._volumes.fit import check_fit
from atso_bench.datasets._volumes.plausible import doubts
from atso_bench.datasets._volumes.raw import Case, RawDataset
from atso_bench.datasets._volumes.trusted import check_plans

Plans = dict[str, Any]
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
            Path(folder, root, name, file).write_text(json.dumps(content), encoding="utf-8")
        paths = {RAW: f"{folder}/raw", PREPROCESSED: f"{folder}/preprocessed", RESULTS: None}
        # the planner sets torch's thread count to nnUNet_n_proc_DA, which must not be 0
        # and prints a traceback for a reader that does not read these files, before it takes the next
        with variables({**paths, "nnUNet_n_proc_DA": "1"}), quiet(), contextlib.redirect_stderr(io.StringIO()):
            ExperimentPlanner(name).plan_experiment()
        plans: Plans = json.loads(Path(folder, "preprocessed", name, "nnUNetPlans.json").read_text(encoding="utf-8"))
    return plans


def read_plans(path: Path, raw: RawDataset, configuration: str) -> Plans:
    """The user's own plans, after a look at all that nnU-Net would import, call or believe.

    Raises:
        ValueError: if they hold anything that is not known, or do not fit the dataset or this machine.
    """
    plans: Plans = read_object(path)
    try:
        check_plans(plans)
        if plans["dataset_name"] != raw.folder.name:
            raise ValueError(f"dataset_name is {plans['dataset_name']!a}; it was made for another dataset")
        check_fit(configuration_of(plans, configuration), len(raw.json["channel_names"]), memory_bytes())
    except ValueError as error:
        raise _unusable(path, raw, error) from error
    return plans


def plan_doubts(
    path: Path | None, plans: Plans, raw: RawDataset, configuration: str, looks: Mapping[str, Look]
) -> list[str]:
    """What is implausible about the user's own plans of these images; None is a plan that nnU-Net made of them.

    Raises:
        ValueError: if an image could not be made by them.
    """
    found, channels = configuration_of(plans, configuration), len(raw.json["channel_names"])
    try:
        told = doubts(found, plans["transpose_forward"], looks, channels, memory_bytes())
    except ValueError as error:
        if path is not None:
            raise _unusable(path, raw, error) from error
        raise ValueError(
            f"nnU-Net's plan of {raw.folder.name} does not fit all images: {error}; is the spacing in its header right?"
        ) from error
    return told if path is not None else []


def _unusable(path: Path, raw: RawDataset, error: ValueError) -> ValueError:
    return ValueError(
        f"{path} cannot be used: {error}; plan {raw.folder.name} again with nnU-Net, correct the entry, or unset "
        f"{PREPROCESSED} to have it planned here"
    )


def configuration_of(plans: Plans, name: str) -> dict[str, Any]:
    """The configuration with what it inherits.

    Raises:
        ValueError: if the plans lack it, or if it is one stage of a cascade.
    """
    if name not in plans["configurations"]:
        raise ValueError(f"configuration {name!r} is not in the plans; they have {', '.join(plans['configurations'])}")
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    try:
        content: dict[str, Any] = PlansManager(plans).get_configuration(name).configuration
    except (RuntimeError, LookupError) as error:  # a circle, or an old plan that lacks something
        raise ValueError(f"configuration {name!r} cannot be put together: {error}") from error
    if content.get("previous_stage"):
        raise ValueError(
            f"configuration {name!r} is a stage of a cascade, which is not supported; take 2d or 3d_fullres"
        )
    return content


def needs_intensities(plans: Plans, configuration: str) -> bool:
    """Whether the images' normalisation depends on labels, as nnU-Net's does for CT."""
    return "CTNormalization" in configuration_of(plans, configuration)["normalization_schemes"]


def scales_late(plans: Plans, configuration: str) -> bool:
    """Whether images are kept before intensity scaling and resampling, which are done when they are read.

    They are where both depend on labels and the resampling is nnU-Net's default, splines.
    """
    plan = configuration_of(plans, configuration)
    options = plan["resampling_fn_data_kwargs"]
    default = plan["resampling_fn_data"] == "resample_data_or_seg_to_shape" and options.get("order_z", 0) == 0
    splines = not options.get("is_seg") and options.get("order", 3) in (1, 2, 3)
    return default and splines and needs_intensities(plans, configuration)


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
