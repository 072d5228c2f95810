"""Batches of augmented patches of volumes: as whole batches where the network is, or by nnU-Net's own code."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from torch import Tensor

from atso_bench.benchmark.task import Image, Pool
from atso_bench.datasets import _transforms as transforms
from atso_bench.datasets._chances import Geometry, chances
from atso_bench.datasets._patches import PatchDraw, cut
from atso_bench.datasets._transforms import OUTSIDE


class BatchDraw(PatchDraw):
    """Cuts patches in a loader's process and augments them all at once, where the network is."""

    def read(self) -> dict[str, Any]:
        """Patches as they are in the images, and the parameters of their augmentation.

        A patch that is to be turned or scaled is cut from a wider one (``wide_image`` and the like, in the order of
        ``turned``); its place in ``image`` and the like is left empty.
        """
        drawn: dict[str, Any] = {}
        for number, (name, lower) in enumerate(self.places()):
            image = self.pool.images[name]
            label = None if self.pool.labels is None else self.pool.labels[name]
            if not drawn:
                drawn = self._room(image, label)
                turned = {int(row): place for place, row in enumerate(drawn["turned"])}
            if number in turned:
                kind, row, corner = "wide_", turned[number], lower
            else:
                kind, row, corner = "", number, [low + more for low, more in zip(lower, self.inner, strict=True)]
            cut(image.array, corner, drawn[f"{kind}image"][row])
            if label is not None:
                cut(label, corner, drawn[f"{kind}soft" if "soft" in drawn else f"{kind}label"][row])
            if (outside := getattr(image, "outside", None)) is not None:
                mark(outside, corner, drawn[f"{kind}label"][row], hard=label is not None and "soft" not in drawn)
        return {name: torch.from_numpy(part) if isinstance(part, np.ndarray) else part for name, part in drawn.items()}

    def finish(self, drawn: Mapping[str, Any], device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Augment on ``device``: images ``(N, C, *patch)``, and labels if the pool has any."""
        with one_thread(), torch.no_grad():
            parts = {
                name: part.to(device, non_blocking=True) if isinstance(part, Tensor) else part
                for name, part in drawn.items()
            }
            if len(drawn["turned"]):
                self._turn(parts)
            change_intensities(parts["image"], parts)
            for name in ("image", "label", "soft"):
                if name in parts:
                    parts[name] = transforms.mirror(parts[name], drawn["mirrored"])
            image, label = parts["image"], parts.get("label")
            if label is not None:
                for channel in self.geometry.masked:
                    image[:, channel].masked_fill_(label == OUTSIDE, 0)
            if "soft" in parts:
                return image, renormalised(parts["soft"])
            return image, None if self.pool.labels is None or label is None else label.clamp_min(0).long()

    @cached_property
    def inner(self) -> list[int]:
        """Where the patch lies in the wide one; in its middle."""
        sizes = zip(self.geometry.wide, self.geometry.patch, strict=True)
        inner = [wide // 2 - patch // 2 for wide, patch in sizes]
        return [0] * (3 - len(inner)) + inner

    def _room(self, image: Image, label: np.ndarray | None) -> dict[str, Any]:
        """The parameters of a batch and room for it, with zeros and ``OUTSIDE`` where the images have nothing."""
        channels = image.array.shape[0]
        drawn: dict[str, Any] = dict(chances(self.size, channels, self.geometry))
        for kind, number, size in (
            ("", self.size, self.geometry.patch),
            ("wide_", len(drawn["turned"]), self.geometry.wide),
        ):
            drawn[f"{kind}image"] = np.zeros((number, channels, *size), np.float32)
            soft = label is not None and label.ndim == image.array.ndim
            if soft and label is not None:
                drawn[f"{kind}soft"] = np.zeros((number, len(label), *size), np.float32)
            if (label is not None and not soft) or getattr(image, "outside", None) is not None:
                drawn[f"{kind}label"] = np.full((number, *size), OUTSIDE, np.int16)
        return drawn

    def _turn(self, parts: dict[str, Any]) -> None:
        """Turn and scale the samples in ``turned``; where the first axis is coarse, its layers alike."""
        geometry, turned = self.geometry, parts["turned"]
        axes = geometry.turned_axes
        grid = transforms.places(parts["matrices"], geometry.patch[-axes:], geometry.wide[-axes:])
        for name in ("image", "soft"):
            if name in parts:
                wide, target = parts[f"wide_{name}"], parts[name]
                result = transforms.turn(wide.flatten(1, -1 - axes), grid)
                target.index_copy_(0, turned, result.view(len(turned), *target.shape[1:]))
        if "label" in parts:
            wide, target = parts["wide_label"], parts["label"]
            layers = wide if geometry.layered else wide[:, None]
            result = transforms.turn_labels(layers, grid)
            target.index_copy_(0, turned, result.view(len(turned), *target.shape[1:]))


class SampleDraw(PatchDraw):
    """nnU-Net's own pipeline, sample by sample in a loader's process: the oracle of ``BatchDraw``, and an option."""

    def __init__(self, pool: Pool, size: int, geometry: Geometry, label_manager: Any) -> None:
        super().__init__(pool, size, geometry, label_manager)
        self.transforms = pipeline(geometry)

    def read(self) -> dict[str, Any]:
        with one_thread(), torch.no_grad():
            samples = [self._sample(name, lower) for name, lower in self.places()]
        batch: dict[str, Any] = {"image": torch.stack([sample["image"] for sample in samples])}
        if self.pool.labels is None:
            return batch
        if "regression_target" in samples[0]:
            return {**batch, "label": renormalised(torch.stack([each["regression_target"] for each in samples]))}
        return {**batch, "label": torch.stack([sample["segmentation"][0].long() for sample in samples])}

    def _sample(self, name: str, lower: list[int]) -> dict[str, Tensor]:
        image, wide = self.pool.images[name], self.geometry.wide
        label = None if self.pool.labels is None else self.pool.labels[name]
        soft = label is not None and label.ndim == image.array.ndim
        sample = {"image": np.zeros((image.array.shape[0], *wide), np.float32)}
        cut(image.array, lower, sample["image"])
        outside = getattr(image, "outside", None)
        if (label is not None and not soft) or outside is not None:
            sample["segmentation"] = np.full((1, *wide), OUTSIDE, np.int16)
        if soft and label is not None:
            sample["regression_target"] = np.zeros((len(label), *wide), np.float32)
            cut(label, lower, sample["regression_target"])
        elif label is not None:
            cut(label, lower, sample["segmentation"][0])
        if outside is not None:
            mark(outside, lower, sample["segmentation"][0], hard=label is not None and not soft)
        result: dict[str, Tensor] = self.transforms(**{key: torch.from_numpy(part) for key, part in sample.items()})
        return result


def pipeline(geometry: Geometry) -> Any:
    """nnU-Net's training transforms of one sample."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    use_mask = [channel in geometry.masked for channel in range(1 + max(geometry.masked, default=-1))]
    composed = nnUNetTrainer.get_training_transforms(
        geometry.patch, geometry.rotation, None, geometry.mirror_axes, geometry.layered, use_mask_for_norm=use_mask
    )
    _fix_blur(composed)
    return composed


def change_intensities(image: Tensor, parts: Mapping[str, Any]) -> None:
    """nnU-Net's transforms of intensities in its order, in place; ``parts`` are what ``chances`` drew."""
    rows = image.flatten(0, 1)

    def change(name: str, transform: Callable[[Tensor], Tensor]) -> None:
        if len(parts[name]):
            rows.index_copy_(0, parts[name], transform(rows.index_select(0, parts[name])))

    if len(parts["noisy"]):
        some = image.index_select(0, parts["noisy"])
        deviations = parts["deviations"].view(-1, *[1] * (image.ndim - 1))
        image.index_copy_(0, parts["noisy"], some + torch.randn_like(some) * deviations)
    change("blurred", lambda some: transforms.blur(some, parts["sigmas"]))
    change("brightened", lambda some: transforms.brighten(some, parts["brightness"]))
    change("stretched", lambda some: transforms.contrast(some, parts["contrast"]))
    change("coarse", lambda some: transforms.coarsen(some, parts["sizes"]))
    change("inverted", lambda some: transforms.gamma(some, parts["inverted_exponents"], inverted=True))
    change("raised", lambda some: transforms.gamma(some, parts["exponents"], inverted=False))


def mark(outside: Any, lower: Sequence[int], target: np.ndarray, *, hard: bool) -> None:
    """Put ``OUTSIDE`` where normalisation left voxels out: nnU-Net keeps them at zero and finds them by this label.

    Args:
        outside: the mask of a whole image.
        lower: where the patch begins in it.
        target: the patch's labels; without hard ones there is nothing in it yet.
        hard: whether it holds labels, which stay but for the background.
    """
    left_out = np.ones(target.shape, np.bool_)
    cut(outside, lower, left_out)
    if not hard:
        target[:] = 0
    target[left_out & (target == 0)] = OUTSIDE


def renormalised(soft: Tensor) -> Tensor:
    """Soft labels ``(N, K, *patch)``, where what a rotation moved in from beyond the image is background."""
    soft = soft.clamp(0, 1)
    soft[:, 0] += (1 - soft.sum(1)).clamp_min(0)
    return soft


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread for a while: a sum over a patch is then the same here and in a worker, to the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _fix_blur(transform: Any) -> None:
    """nnU-Net's blur measures which of two algorithms is faster and takes that one: its result depends on the clock."""
    for part in (*getattr(transform, "transforms", ()), getattr(transform, "transform", None)):
        if isinstance(part, GaussianBlurTransform):
            part.benchmark = False
        elif part is not None:
            _fix_blur(part)
