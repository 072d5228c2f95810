"""Batches of augmented patches of volumes: as whole batches where the network is, or by nnU-Net's own code."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from torch import Tensor

from atso_bench.benchmark.machine.sending import constant, sent_together
from atso_bench.benchmark.task import Image, Pool
from atso_bench.datasets._volumes import transforms
from atso_bench.datasets._volumes.chances import Geometry, chances
from atso_bench.datasets._volumes.held import Held, weight
from atso_bench.datasets._volumes.patches import PatchDraw, cut, outside_of
from atso_bench.datasets._volumes.transforms import OUTSIDE


class BatchDraw(PatchDraw):
    """Cuts patches in a loader's process and augments them all at once, where the network is.

    Attributes:
        store: what patches are cut from where the network is, too; None for in a loader's process.
    """

    store: Held | None = None

    def read(self) -> dict[str, Any]:
        """Patches as they are in the images, and the parameters of their augmentation.

        A patch that is to be turned or scaled is cut from a wider one (``wide_image`` and the like, in the order of
        ``turned``); its place in ``image`` and the like is left empty.
        """
        places = list(self.places())
        if self.store is not None:
            return {
                **chances(self.size, self.store.channels, self.geometry),
                **self.store.numbered(places),
            }
        image, label = self.case(places[0][0])
        drawn = chances(self.size, image.array.shape[0], self.geometry)
        turned = {row: place for place, row in enumerate(drawn["turned"].tolist())}
        plain = room(self.size, self.geometry.patch, image, label)
        wide = room(len(turned), self.geometry.wide, image, label)
        for number, (name, lower) in enumerate(places):
            if number in turned:
                fill(wide, turned[number], *self.case(name), lower)
            else:
                corner = [low + more for low, more in zip(lower, self.inner, strict=True)]
                fill(plain, number, *self.case(name), corner)
        cuts = {**plain, **{f"wide_{name}": part for name, part in wide.items()}}
        return {**drawn, **{name: torch.from_numpy(part) for name, part in cuts.items()}}

    def finish(self, drawn: Mapping[str, Any], device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Augment on ``device``: images ``(N, C, *patch)``, and labels if the pool has any.

        What was drawn is used up: on the CPU it is changed in place.
        """
        with one_thread(), torch.no_grad():
            parts: dict[str, Any] = sent_together(drawn, device)
            if self.store is not None:
                parts.update(self._cuts(self.store, parts))
            if len(drawn["turned"]):
                self._turn(parts)
            change_intensities(parts["image"], parts)
            for name in ("image", "label", "soft"):
                if name in parts:
                    parts[name] = transforms.mirror(parts[name], parts["mirrored"])
            image, label = parts["image"], parts.get("label")
            if label is not None:
                for channel in self.geometry.masked:
                    image[:, channel].masked_fill_(label == OUTSIDE, 0)
            if "soft" in parts:
                return image, renormalised(parts["soft"])
            return image, None if self.pool.labels is None or label is None else label.clamp_min(0).long()

    def weight(self, most: int) -> int | None:
        return weight(self.pool, most)

    def held(self, device: torch.device, shelf: dict[Any, Any]) -> BatchDraw:
        found = copy.copy(self)
        found.store = Held(self.pool, device, shelf)
        return found

    def _cuts(self, store: Held, parts: Mapping[str, Any]) -> dict[str, Any]:
        """What ``read`` cuts where there is no store; in ``image`` and the like all samples have their place."""
        cases, lower, turned = parts["cases"], parts["lower"], parts["turned"]
        inner = constant(tuple(self.inner), lower.device, lower.dtype)
        cuts = store.cuts(cases, lower + inner, self.geometry.patch)
        if len(turned):
            wide = store.cuts(cases.index_select(0, turned), lower.index_select(0, turned), self.geometry.wide)
            cuts.update({f"wide_{name}": part for name, part in wide.items()})
        return cuts

    @cached_property
    def inner(self) -> list[int]:
        """Where the patch lies in the wide one; in its middle."""
        sizes = zip(self.geometry.wide, self.geometry.patch, strict=True)
        inner = [wide // 2 - patch // 2 for wide, patch in sizes]
        return [0] * (3 - len(inner)) + inner

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
        image, label = self.case(name)
        made = room(1, self.geometry.wide, image, label)
        fill(made, 0, image, label, lower)
        sample = {"image": made["image"][0]}
        if "label" in made:
            sample["segmentation"] = made["label"]  # of one channel
        if "soft" in made:
            sample["regression_target"] = made["soft"][0]
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


def room(number: int, size: tuple[int, ...], image: Image, label: np.ndarray | None) -> dict[str, np.ndarray]:
    """Room for so many patches of a size, for images and labels of this kind.

    Returns:
        ``image``; ``soft`` for soft labels; ``label`` for hard ones, and for the voxels that normalisation left out.
        Zeros, and ``OUTSIDE`` in ``label``: what lies beyond an image.
    """
    made = {"image": np.zeros((number, image.array.shape[0], *size), np.float32)}
    if label is not None and label.ndim == image.array.ndim:
        made["soft"] = np.zeros((number, len(label), *size), np.float32)
    if (label is not None and "soft" not in made) or outside_of(image) is not None:
        made["label"] = np.full((number, *size), OUTSIDE, np.int16)
    return made


def fill(made: Mapping[str, np.ndarray], row: int, image: Image, label: np.ndarray | None, lower: list[int]) -> None:
    """Cut the patch that begins at ``lower`` into one row of the ``room`` that was made for it."""
    cut(image.array, lower, made["image"][row])
    if label is not None:
        cut(label, lower, made["soft" if "soft" in made else "label"][row])
    if (outside := outside_of(image)) is not None:
        mark(outside, lower, made["label"][row], hard=label is not None and "soft" not in made)


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
