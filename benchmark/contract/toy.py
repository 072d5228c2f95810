"""A task that trains in milliseconds: blobs on noise, a three-layer network. What the contract is held against."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atso_bench.benchmark.scoring.headline import DICE, Metric
from atso_bench.benchmark.spec import Budget, digest
from atso_bench.benchmark.task import IGNORE, Draw, Image, Pool, Recipe, Reference


class Opened(Mapping[str, Any]):
    """What ``load`` gives, for these cases and for no other."""

    def __init__(self, ids: Sequence[str], load: Any) -> None:
        self.ids, self.load = dict.fromkeys(ids), load

    def __getitem__(self, case_id: str) -> Any:
        if case_id not in self.ids:
            raise KeyError(f"{case_id} is not open here")
        return self.load(case_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class ToyDataset:
    """``twisted_images`` and ``twisted_labels`` are cases in which something is changed, to see who reacts."""

    shape: tuple[int, ...] = (16, 16)
    cases: int = 24
    twisted_images: frozenset[str] = frozenset()
    twisted_labels: frozenset[str] = frozenset()
    unlabelled: tuple[str, ...] = ("u00", "u01")
    name: str = "toy"
    track: str = "medical"
    configuration: str = "2d"
    configurations: tuple[str, ...] = ("2d",)
    groupings: tuple[str, ...] = ("patient",)
    caveats: tuple[str, ...] = ()
    default_list: str = ""
    labels_from: tuple[str, ...] = ()
    joint: str = ""
    recipe: Recipe = field(default=Recipe(patch=(8, 8), batch=4, momentum=0.9))

    @property
    def pool(self) -> tuple[str, ...]:
        return tuple(f"c{k:02d}" for k in range(self.cases - 4))

    @property
    def test(self) -> tuple[str, ...]:
        return tuple(f"c{k:02d}" for k in range(self.cases - 4, self.cases))

    @property
    def identity(self) -> str:
        return digest([self.shape, self.cases])

    def group(self, case_id: str, by: str = "") -> str:
        return case_id

    def content(self, case_id: str) -> str:
        return digest(self.load(case_id)[0].tolist())

    def settled(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        return dict(recipe)

    def published_parts(self, name: str) -> dict[str, tuple[str, ...]]:
        return {}

    def published(self, name: str, fraction: str) -> tuple[str, ...]:
        raise LookupError(f"toy has no list {name!r}")

    def ready(self, say: Any = None) -> list[str]:
        return []

    def load(self, case_id: str) -> tuple[np.ndarray, np.ndarray]:
        """Image ``(1, *shape)`` and label ``(*shape)``."""
        rng = np.random.default_rng([ord(letter) for letter in case_id])
        label = np.zeros(self.shape, np.uint8)
        centre = [int(rng.integers(4, size - 4)) for size in self.shape]
        label[tuple(slice(c - 3, c + 3) for c in centre)] = 1
        label[tuple(slice(c - 1, c + 2) for c in centre)] = 2
        image = 0.8 * label + 0.4 * rng.standard_normal(self.shape)
        if case_id in self.twisted_images:
            image = 2 * image[::-1]
        if case_id in self.twisted_labels:
            label = rng.integers(0, 3, self.shape).astype(np.uint8)
        return image[None].astype(np.float32), label

    def task(
        self, labelled: Sequence[str], visible: Sequence[str], budget: Budget, overrides: Mapping[str, Any]
    ) -> ToyTask:
        patch = tuple(8 for _ in self.shape)
        recipe = replace(self.recipe, patch=patch, **overrides)
        return ToyTask(
            Opened(visible, lambda i: Image(self.load(i)[0], {"id": i})),
            Opened(labelled, lambda i: self.load(i)[1]),
            recipe,
        )

    def reference(self, case_id: str) -> Reference:
        return Reference(self.load(case_id)[1], (1.0,) * len(self.shape))

    def picture(self, case_id: str) -> np.ndarray:
        return self.load(case_id)[0][0]

    def hidden_label(self, case_id: str) -> np.ndarray:
        return self.load(case_id)[1]


@dataclass(frozen=True)
class ToyTask:
    images: Any
    labels: Any
    recipe: Recipe
    track: str = "medical"
    metric: Metric = DICE
    palette: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ("background", "square", "core")
    details: Mapping[str, Any] = field(default_factory=dict)
    portable: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        return digest(["toy", self.recipe.facts])

    def network(self, *, start: bool = True) -> nn.Module:
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if len(self.recipe.patch) == 2 else (nn.Conv3d, nn.BatchNorm3d)
        parts = {"encoder": conv(1, 6, 3, padding=1), "norm": norm(6), "act": nn.LeakyReLU()}
        return nn.Sequential(OrderedDict({**parts, "head": conv(6, 3, 3, padding=1)}))

    def loss(self, output: Any, label: Tensor, *, pseudo: bool = False, partial: bool = False) -> Tensor:
        if not partial:
            return F.cross_entropy(output, label)
        loss = F.cross_entropy(output, label, ignore_index=IGNORE, reduction="sum")
        return loss / (label != IGNORE).sum().clamp_min(1)

    def strong(self, image: Tensor) -> Tensor:
        return image + 0.5 * torch.randn_like(image)

    def draws(self, pool: Pool, size: int) -> Any:
        return ToyDraw(pool, size, self.recipe.patch)

    @torch.inference_mode()
    def predict(self, model: nn.Module, image: Image, device: torch.device, *, mirror: bool) -> Tensor:
        model.eval()
        return model(torch.from_numpy(image.array)[None].to(device))[0].cpu()

    def slabs(self, model: nn.Module, image: Image, device: torch.device, *, mirror: bool) -> Iterator[Tensor]:
        yield self.predict(model, image, device, mirror=mirror)

    def restore(self, image: Image, logits: Iterable[Tensor]) -> np.ndarray:
        return torch.cat(list(logits), 1).argmax(0).numpy().astype(np.uint8)


@dataclass(frozen=True)
class ToyDraw(Draw):
    pool: Pool
    size: int
    patch: tuple[int, ...]

    def read(self) -> dict[str, Any]:
        images, labels = [], []
        for _ in range(self.size):
            case_id = self.pool.ids[np.random.randint(len(self.pool.ids))]
            image = self.pool.images[case_id].array
            sizes = zip(image.shape[1:], self.patch, strict=True)
            starts = [(np.random.randint(full - part + 1), part) for full, part in sizes]
            window = tuple(slice(start, start + part) for start, part in starts)
            images.append(torch.from_numpy(image[(slice(None), *window)].copy()))
            if self.pool.labels is not None:
                label = self.pool.labels[case_id]
                soft = label.ndim == image.ndim
                cut = label[(slice(None), *window)] if soft else label[window]
                labels.append(torch.from_numpy(cut.astype(np.float32 if soft else np.int64)))
        drawn = {"image": torch.stack(images)}
        return {**drawn, "label": torch.stack(labels)} if labels else drawn
