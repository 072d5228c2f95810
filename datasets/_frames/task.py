"""A natural task: DeepLabV3+, crops, loss, inference and export for one labelled set of frames."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atso_bench.benchmark.scoring.headline import MIOU
from atso_bench.benchmark.spec import Budget, digest
from atso_bench.benchmark.task import Draw, Image, Labels, Pool
from atso_bench.benchmark.training.labels import largest
from atso_bench.datasets._frames.classes import CITYSCAPES, FrameClasses
from atso_bench.datasets._frames.draws import MEAN, STD, FrameDraw
from atso_bench.datasets._frames.inference import predict_frame
from atso_bench.datasets._frames.loss import StreetLoss
from atso_bench.datasets._frames.network import MULTIPLE, StreetNetwork, pretrained
from atso_bench.datasets._frames.recipes import differences, recipes
from atso_bench.datasets._frames.strong import strong_crops
from atso_bench.datasets._shared.storage import new_folder, vacant

INFERENCE = ("evaluation", "window", "stride", "shift", "mirror", "mirror_pseudo")
"""Fields of the recipe that change no training; the trainer asks for them when it predicts."""

_EXAMPLE = """\
import json, torch, safetensors.torch, segmentation_models_pytorch as smp
model = json.load(open({description!r}))
network = smp.DeepLabV3Plus(encoder_weights=None, **model["arguments"]).eval()
network.load_state_dict(safetensors.torch.load_file({weights!r}))
logits = network((image - torch.tensor(model["mean"])) / torch.tensor(model["std"]))  # image (N, 3, H, W), 0 to 255
"""


class FramesTask:
    """See ``Task``; the arguments come from ``FramesDataset.task``.

    Attributes:
        street: the recipe's fields that only this track has.
        described: the classes with their numbers and colours.
    """

    track = "natural"
    metric = MIOU

    def __init__(
        self,
        *,
        classes: FrameClasses,
        configuration: str,
        budget: Budget,
        overrides: Mapping[str, Any],
        images: Mapping[str, Image],
        labels: Labels,
        visible: Mapping[str, str],
        labelled: Mapping[str, str],
        unlabelled: int,
        listed: bool,
    ) -> None:
        self.described, self.classes, self.configuration = classes, classes.names, configuration
        self.images, self.labels = images, labels
        kept = {name: value for name, value in overrides.items() if name not in ("weights", "weights_sha256")}
        self._asked = {"budget": asdict(budget), "overrides": kept}  # trained weights need no start
        self.recipe, self.street = recipes(configuration, budget, overrides)
        self._data: list[Any] = [dict(visible), dict(labelled)]
        if classes.names != CITYSCAPES.names:  # whose phases were stored before there were others
            self._data.append(classes.names)
        self._protocol = differences(
            configuration, self.recipe, self.street, budget, len(labelled), unlabelled, listed=listed
        )

    @property
    def palette(self) -> dict[str, tuple[int, int, int]]:
        """The dataset's own colours by class; empty where it has none."""
        return dict(zip(self.classes, self.described.palette, strict=False))

    @cached_property
    def identity(self) -> str:
        """Hash of data and recipe, without what concerns inference alone."""
        recipe = {**self.recipe.facts, **self._made}
        return digest([self._data, {name: value for name, value in recipe.items() if name not in INFERENCE}])

    @property
    def details(self) -> dict[str, Any]:
        """What ``recipe`` does not say, for the record."""
        said = {name: value for name, value in self._made.items() if name not in (*INFERENCE, "weights_sha256")}
        low, *more = self.street.scales
        made = {
            **said,
            "scales": f"{low:g} to {more[0]:g}" if len(more) == 1 else ", ".join(f"{each:g}" for each in (low, *more)),
            "configuration": self.configuration,
            "network": "DeepLabV3Plus",
            "evaluation": self.street.inference,
        }
        return {**made, "protocol": self._protocol} if self._protocol else made

    @property
    def portable(self) -> dict[str, Any]:
        """What ``TrainedFrames`` makes this task of again, without data; see ``Task``."""
        return {"classes": self.described.to_json(), "configuration": self.configuration, **self._asked}

    def network(self, *, start: bool = True) -> nn.Module:
        """DeepLabV3+; the encoder starts from the recipe's weights, the rest from random ones."""
        network = StreetNetwork(self._arguments)
        weights = self._start[0] if start else None
        if weights is not None:
            network.network.encoder.load_state_dict(dict(weights))
        return network

    def loss(self, output: Tensor, label: Tensor, *, pseudo: bool = False, partial: bool = False) -> Tensor:
        """Cross-entropy of the hard pixels of true labels, of all pixels of pseudo labels; see ``StreetLoss``."""
        loss: Tensor = self._loss(output, label, pseudo=pseudo)
        return loss

    def draws(self, pool: Pool, size: int) -> Draw:
        """Batches of crops, randomly scaled and flipped."""
        return FrameDraw(pool, size, (self.recipe.patch[0], self.recipe.patch[1]), self.street.scales)

    def strong(self, image: Tensor) -> Tensor:
        """Another view of each crop in colour and sharpness; see ``strong_crops``."""
        return strong_crops(image)

    def predict(self, model: nn.Module, image: Image, device: torch.device, *, mirror: bool) -> Tensor:
        """Logits ``(K, H, W)`` at full resolution on ``device``."""
        sliding = self.street.evaluation == "sliding"
        return predict_frame(
            model,
            image.array,
            torch.device(device),
            window=self.street.window if sliding else None,
            stride=self.street.stride,
            shift=self.street.shift,
            mirror=mirror,
        )

    def slabs(self, model: nn.Module, image: Image, device: torch.device, *, mirror: bool) -> Iterator[Tensor]:
        """The logits of the whole frame, in one piece."""
        yield self.predict(model, image, device, mirror=mirror)

    def restore(self, image: Image, logits: Tensor | Iterable[Tensor]) -> np.ndarray:
        """Classes ``(H, W)``; the geometry is the original one."""
        return largest(logits if isinstance(logits, Tensor) else torch.cat(list(logits), 1))

    def export(self, model: nn.Module, folder: Path, facts: Mapping[str, Any]) -> str:
        """Write ``weights.safetensors``, and ``model.json``, which says how to build the network.

        Returns:
            Five lines of Python that load and use it; they need neither this project nor its data.

        Raises:
            ValueError: if ``folder`` exists and is not empty.
        """
        from safetensors.torch import save_file

        folder = vacant(folder)
        inner = model.get_submodule("network")
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in inner.state_dict().items()}
        description = {
            "network": "segmentation_models_pytorch.DeepLabV3Plus",
            "arguments": self._arguments,
            "mean": [[[255 * value]] for value in MEAN],
            "std": [[[255 * value]] for value in STD],
            "multiple": MULTIPLE,  # pad height and width to multiples of it
            "classes": [
                {"train_id": index, "label_id": value, "name": name}
                for index, (name, value) in enumerate(zip(self.classes, self.described.ids, strict=True))
            ],
            "inference": self.street.inference,
            "example": _example(Path()).splitlines(),  # for someone who is in the folder, wherever it is then
            "facts": dict(facts),
        }
        with new_folder(folder) as partial:
            save_file(state, partial / "weights.safetensors")
            (partial / "weights.safetensors").chmod(0o644)  # the library makes it its user's alone
            (partial / "model.json").write_text(json.dumps(description, indent=1, default=str), encoding="utf-8")
        return _example(folder)

    @cached_property
    def _start(self) -> tuple[Mapping[str, Tensor] | None, str]:
        """What the encoder starts from; not read before it is needed, for a trained model needs it no more."""
        return pretrained(self.street.weights, self.street.encoder, self.street.weights_sha256)

    @property
    def _made(self) -> dict[str, Any]:
        rates = list(self.street.atrous_rates)
        return {**asdict(self.street), "weights": self._start[1], "weights_sha256": "", "atrous_rates": rates}

    @property
    def _arguments(self) -> dict[str, Any]:
        return {
            "encoder_name": self.street.encoder,
            "encoder_output_stride": self.street.output_stride,
            "decoder_atrous_rates": list(self.street.atrous_rates),
            "decoder_channels": self.street.decoder,
            "in_channels": 3,
            "classes": len(self.classes),
        }

    @cached_property
    def _loss(self) -> StreetLoss:
        return StreetLoss(self.street.ohem_threshold, self.street.ohem_kept)


def _example(folder: Path) -> str:
    return _EXAMPLE.format(description=str(folder / "model.json"), weights=str(folder / "weights.safetensors"))
