"""A medical task: nnU-Net's network, loss, augmentation, predictor and export for one labelled set."""

from __future__ import annotations

import copy
import json
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import numpy as np
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from pydantic import Field
from torch import Tensor, nn

from atso_bench.benchmark.machine import memory
from atso_bench.benchmark.scoring.headline import DICE
from atso_bench.benchmark.spec import Budget, digest
from atso_bench.benchmark.task import Draw, Image, Labels, Pool, Recipe
from atso_bench.datasets._shared.recipe import Overrides, Whole, check_overrides
from atso_bench.datasets._shared.storage import new_folder, vacant
from atso_bench.datasets._volumes.flat import is_flat
from atso_bench.datasets._volumes.loss import DeepSupervisedLoss
from atso_bench.datasets._volumes.plan import Plans, configuration_of, needs_intensities
from atso_bench.datasets._volumes.restore import needed, restorer
from atso_bench.datasets._volumes.sums import Sums

if TYPE_CHECKING:
    from atso_bench.datasets._volumes.chances import Geometry
    from atso_bench.datasets._volumes.predictor import BatchedPredictor
    from atso_bench.datasets._volumes.unscaled import Scaling

_SMALL = {"width": 8, "lr": 0.1, "momentum": 0.9}
RECIPES: dict[str, dict[int, dict[str, Any]]] = {
    "smoke": {2: {**_SMALL, "batch": 4}, 3: {**_SMALL, "batch": 2}},
    "demo": {2: {**_SMALL, "batch": 8}, 3: {**_SMALL, "batch": 2}},
    "small": {2: {**_SMALL, "batch": 8}, 3: {**_SMALL, "batch": 2}},
}
"""What a budget changes in nnU-Net's plan and constants, by the number of axes; other budgets change nothing.

``width`` is the number of features in the network's first stage.
"""

Augmentation = Literal["batched", "nnunet"]
"""nnU-Net's transforms for whole batches where the network is, or its own pipeline, sample by sample on the CPU."""


class VolumeOverrides(Overrides, total=False):
    """Of the fields of ``Recipe``, and those that this track adds."""

    width: Annotated[Whole, Field(description="a whole number, at least 1")]
    augmentation: Annotated[Augmentation, Field(description=" or ".join(get_args(Augmentation)))]


_MOST_FEATURES = {2: 512, 3: 320}  # nnU-Net's UNet_max_features_2d and _3d


class NnunetTask:
    """See ``Task``; the arguments come from ``NnunetDataset.task``.

    Attributes:
        plans: nnU-Net's plans with the labelled cases' intensities, and the patch, batch and width that are used here.
        details: what the recipe does not say about network and preprocessing, for the record.
    """

    track = "medical"
    metric = DICE
    palette: Mapping[str, Sequence[int]] = MappingProxyType({})

    def __init__(
        self,
        *,
        dataset: str,
        plans: Plans,
        configuration: str,
        dataset_json: Mapping[str, Any],
        classes: tuple[str, ...],
        ignore: bool,
        budget: Budget,
        overrides: Mapping[str, Any],
        images: Path,
        scaling: Sequence[Scaling | None],
        visible: Mapping[str, str],
        labels: Path,
        labelled: Mapping[str, str],
    ) -> None:
        from atso_bench.datasets._volumes.opened import Images, TrueLabels

        self.dataset = dataset
        self.classes = classes
        self.configuration = configuration
        self.dataset_json = dict(dataset_json)
        self.ignore = ignore
        self._asked = {"budget": asdict(budget), "overrides": dict(overrides)}
        self.recipe, own = _recipe(configuration_of(plans, configuration), budget, overrides)
        self.plans = _adapted(plans, configuration, self.recipe, own["width"])
        self.images: Mapping[str, Image] = Images(images, tuple(visible), dataset, scaling)
        self.labels: Labels = TrueLabels(labels, tuple(labelled), dataset)
        plan = configuration_of(self.plans, configuration)
        self.details = {
            "configuration": configuration,
            "network": plan["architecture"]["network_class_name"].rsplit(".", 1)[-1],
            "features": list(plan["architecture"]["arch_kwargs"]["features_per_stage"]),
            "spacing": list(plan["spacing"]),
            "normalization": list(plan["normalization_schemes"]),
            "augmentation": own["augmentation"],
        }
        seen = {"plan": plan, "transpose": self.plans["transpose_forward"], "reader": self.plans["image_reader_writer"]}
        if needs_intensities(plans, configuration):
            seen["intensities"] = self.plans["foreground_intensity_properties_per_channel"]
        data = {"visible": dict(visible), "labelled": dict(labelled), "classes": classes, "ignore": ignore}
        self.identity = digest([seen, data, self.recipe.facts, own["augmentation"]])
        self._predictors: dict[str, BatchedPredictor] = {}

    @property
    def portable(self) -> dict[str, Any]:
        """What ``TrainedVolumes`` makes this task of again, without data; see ``Task``."""
        return {
            "dataset": self.dataset,
            "plans": self.plans,
            "configuration": self.configuration,
            "dataset_json": self.dataset_json,
            "labelled": sorted(self.labels),
            **self._asked,
        }

    def network(self, *, start: bool = True) -> nn.Module:
        """nnU-Net's network: a list of heads from fine to coarse in training mode, the finest in evaluation mode."""
        architecture = self._configuration.configuration["architecture"]
        network = get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            len(self.dataset_json["channel_names"]),
            len(self.classes),
            deep_supervision=True,
        )
        network.register_forward_pre_hook(_heads_by_mode)
        module: nn.Module = network
        return module

    def loss(
        self, output: Tensor | Sequence[Tensor], label: Tensor, *, pseudo: bool = False, partial: bool = False
    ) -> Tensor:
        """nnU-Net's Dice and cross-entropy over the heads, for all labels alike; see ``DeepSupervisedLoss``."""
        loss: Tensor = self._loss(output, label, partial=partial or self.ignore)
        return loss

    def draws(self, pool: Pool, size: int) -> Draw:
        """Batches of patches, the last third with foreground where the pool has labels."""
        from atso_bench.datasets._volumes.draws import BatchDraw, SampleDraw

        kind = BatchDraw if self.details["augmentation"] == "batched" else SampleDraw
        return kind(pool, size, self._geometry, self._label_manager)

    def strong(self, image: Tensor) -> Tensor:
        """Another view of each patch in brightness, contrast and sharpness; see ``strong_patches``."""
        from atso_bench.datasets._volumes.strong import strong_patches

        return strong_patches(image)

    def slabs(self, model: nn.Module, image: Image, device: torch.device, *, mirror: bool) -> Iterator[Tensor]:
        """Logits by nnU-Net's sliding window, half precision on the CPU; no more than a tile's planes are in memory.

        Raises:
            MemoryError: before anything is computed, if this machine has not the memory that it takes.
        """
        shape, classes = tuple(image.array.shape[1:]), len(self.classes)
        memory.require(self._needed(image), f"predicting {' x '.join(map(str, shape))} voxels of {classes} classes")
        array = np.require(image.array[:], np.float32, "W")  # a copy of what is kept in memory
        return self._predictor(torch.device(device)).slabs(model, torch.from_numpy(array), mirror=mirror)

    def predict(self, model: nn.Module, image: Image, device: torch.device, *, mirror: bool) -> Tensor:
        """Logits ``(K, *spatial)`` by nnU-Net's sliding window, float32 on the CPU: all at once, of a small volume."""
        return torch.cat([slab.float() for slab in self.slabs(model, image, device, mirror=mirror)], 1)

    def restore(self, image: Image, logits: Tensor | Iterable[Tensor]) -> np.ndarray:
        """Class indices ``(*spatial)`` in the original geometry, by nnU-Net's resampling, of logits whole or in slabs.

        Raises:
            MemoryError: if the plan's resampling needs all logits at once, and there is no room for them.
        """
        slabs: Iterable[Tensor] = [logits] if isinstance(logits, Tensor) else logits
        slabs = (slab.half() for slab in slabs)  # nnU-Net's precision; predict's logits are exact in it
        label = np.zeros(image.properties["shape_before_cropping"], np.uint8)
        box = tuple(slice(*bounds) for bounds in image.properties["bbox_used_for_cropping"])
        restorer(self._configuration, image, self.plans["transpose_forward"])(slabs, label[box])
        label = label.transpose(self.plans["transpose_backward"])
        return label[0] if is_flat(image.properties, self.plans["image_reader_writer"]) else label

    def export(self, model: nn.Module, folder: Path, facts: Mapping[str, Any]) -> str:
        """Write an nnU-Net model folder; returns nnU-Net's command that predicts with it on a machine like this.

        Raises:
            ValueError: if ``folder`` exists and is not empty.
        """
        folder = vacant(folder)
        plans, description = copy.deepcopy(self.plans), {**self.dataset_json, "numTraining": len(self.labels)}
        checkpoint = {
            "network_weights": {name: value.detach().cpu() for name, value in model.state_dict().items()},
            "trainer_name": "nnUNetTrainer",
            "init_args": {"plans": plans, "configuration": self.configuration, "fold": 0, "dataset_json": description},
            "inference_allowed_mirroring_axes": tuple(self._geometry.mirror_axes),
        }
        with new_folder(folder) as partial:
            (partial / "plans.json").write_text(json.dumps(plans, indent=1), encoding="utf-8")
            (partial / "dataset.json").write_text(json.dumps(description, indent=1), encoding="utf-8")
            (partial / "atso_bench.json").write_text(json.dumps(dict(facts), indent=1, default=str), encoding="utf-8")
            (partial / "fold_0").mkdir()
            torch.save(checkpoint, partial / "fold_0" / "checkpoint_final.pth")
        more = "" if self.recipe.mirror else " --disable_tta"
        more += "" if torch.cuda.is_available() else " -device cpu"
        return f"nnUNetv2_predict_from_modelfolder -i IMAGES -o OUT -m {shlex.quote(str(folder))} -f 0{more}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_predictors": {}}

    @cached_property
    def _manager(self) -> PlansManager:
        return PlansManager(self.plans)

    @cached_property
    def _configuration(self) -> Any:
        return self._manager.get_configuration(self.configuration)

    @cached_property
    def _label_manager(self) -> Any:
        return self._manager.get_label_manager(self.dataset_json)

    @cached_property
    def _geometry(self) -> Geometry:
        from atso_bench.datasets._volumes.chances import Geometry

        return Geometry.of(self.recipe.patch, self._configuration.use_mask_for_norm)

    @cached_property
    def _loss(self) -> DeepSupervisedLoss:
        return DeepSupervisedLoss(self._configuration.batch_dice)

    def _needed(self, image: Image) -> int:
        """Bytes that predicting and restoring an image take at most, beside the image and the network's own."""
        channels, *shape = image.array.shape
        before, after = shape, image.properties["shape_after_cropping_and_before_resampling"]
        padded = [max(sizes) for sizes in zip(before, (1, 1, 1, *self.recipe.patch)[-len(before) :], strict=True)]
        mask = math.prod(image.properties["shape_before_cropping"])
        sums = Sums.needed(len(self.classes), padded, self.recipe.patch)
        return 4 * channels * math.prod(padded) + sums + needed(len(self.classes), after) + mask

    def _predictor(self, device: torch.device) -> BatchedPredictor:
        from atso_bench.datasets._volumes.predictor import BatchedPredictor

        if str(device) not in self._predictors:
            predictor = BatchedPredictor(device)
            axes = tuple(self._geometry.mirror_axes)
            predictor.manual_initialization(
                nn.Identity(), self._manager, self._configuration, None, self.dataset_json, "nnUNetTrainer", axes
            )
            self._predictors[str(device)] = predictor
        return self._predictors[str(device)]


def _heads_by_mode(network: Any, _: Any) -> None:
    """Before each forward pass: all heads to train with, one to predict with."""
    network.decoder.deep_supervision = network.training


def _recipe(plan: Mapping[str, Any], budget: Budget, overrides: Mapping[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """The recipe, and this track's own: ``augmentation``, and the ``width`` if it differs from the plan's.

    Raises:
        ValueError: for an override that is unknown or does not fit the network.
    """
    check_overrides(overrides, VolumeOverrides)
    planned = {"patch": plan["patch_size"], "batch": plan["batch_size"]}
    chosen = {**planned, **RECIPES.get(budget.name, {}).get(len(plan["patch_size"]), {}), **overrides}
    own = {"augmentation": chosen.pop("augmentation", "batched"), "width": chosen.pop("width", None)}
    patch = tuple(int(size) for size in chosen.pop("patch"))
    strides = np.prod(plan["architecture"]["arch_kwargs"]["strides"], axis=0).astype(int).tolist()
    if len(patch) != len(strides) or any(
        size < 1 or size % stride for size, stride in zip(patch, strides, strict=True)
    ):
        raise ValueError(f"recipe.patch has {len(strides)} sizes, divisible by {strides}, got {list(patch)}")
    if math.prod(patch) <= math.prod(strides):
        raise ValueError(
            f"recipe.patch {list(patch)} leaves one voxel in the network's deepest stage; it needs two or more"
        )
    return Recipe(patch=patch, **chosen), own


def _adapted(plans: Plans, configuration: str, recipe: Recipe, width: int | None) -> Plans:
    """The plans with this patch, batch and width, so that an export says what was trained."""
    plans = copy.deepcopy(plans)
    plan = copy.deepcopy(configuration_of(plans, configuration))
    plan.pop("inherits_from", None)
    plan.update(patch_size=list(recipe.patch), batch_size=recipe.batch)
    if width is not None:
        arguments = plan["architecture"]["arch_kwargs"]
        most = _MOST_FEATURES[len(recipe.patch)]
        arguments["features_per_stage"] = [min(most, width * 2**stage) for stage in range(arguments["n_stages"])]
    plans["configurations"][configuration] = plan
    return plans
