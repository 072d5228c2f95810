"""The largest connected component of each class in the patches of a batch, for labels that are made within a step."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from atso_bench.benchmark.trainer import Trainer


def tidied(trainer: Trainer, label: Tensor) -> Tensor:
    """Classes ``(N, *patch)`` with the largest component alone of each but 0, where a class is one object.

    It is one in a volume. In a frame a class has many objects, and all stay.
    """
    return largest(label, len(trainer.task.classes)) if trainer.task.metric.case == "case" else label


def largest(label: Tensor, classes: int) -> Tensor:
    """Classes ``(N, *patch)`` int64 of which each but 0 keeps its largest component in each patch; corners connect.

    Of components of equal size all stay, as in nnU-Net's post-processing. SciPy finds the components on a CPU; a GPU
    would have to wait for it, and there ``roots`` finds them.
    """
    if label.device.type != "cpu":
        return largest_without_host(label, classes)
    return torch.from_numpy(np.stack([_largest_of_one(one, classes) for one in label.numpy()]))


def _largest_of_one(label: np.ndarray, classes: int) -> np.ndarray:
    """As ``largest``, of one patch; in a step there may be thousands of components, for which nnU-Net's is slow."""
    kept = np.zeros_like(label)
    for number in range(1, classes):
        component, _ = ndimage.label(label == number, np.ones((3,) * label.ndim))
        sizes = np.bincount(component.ravel(), minlength=2)[1:]
        kept[np.concatenate([[False], sizes == sizes.max()])[component]] = number
    return kept


def largest_without_host(label: Tensor, classes: int) -> Tensor:
    """As ``largest``, by operations on whole tensors alone."""
    kept = torch.zeros_like(label)
    for number in range(1, classes):
        inside = label == number
        root = roots(inside)
        counted = inside.flatten().long()
        size = torch.zeros_like(root).scatter_add_(0, root, counted).gather(0, root) * counted
        most = size.view(len(label), -1).amax(1)
        biggest = size.view_as(label) == most.view(-1, *[1] * (label.ndim - 1))
        kept = torch.where(inside & biggest, number, kept)
    return kept


def roots(inside: Tensor) -> Tensor:
    """For each voxel of ``(N, *patch)`` boolean the number of its component: that of the component's first voxel.

    A forest of pointers, in which trees hook onto neighbours of a smaller number and are flattened: FastSV (Zhang, Azad
    and Hu, SIAM PP 2020). It was through after log2 of the voxels on the longest lines tried; to ask whether it is
    would mean to wait. Voxels that are not inside have their own number.

    Returns:
        ``(N * voxels)`` int64.
    """
    own = torch.arange(inside.numel(), device=inside.device)
    parent, within = own, inside.flatten()
    for _ in range(inside[0].numel().bit_length() + 4):
        grand = parent.gather(0, parent)
        near = least_near(torch.where(within, grand, inside.numel()).view_as(inside)).flatten()
        near = torch.where(within, near, own)
        hooked = parent.scatter_reduce(0, parent, near, "amin")
        parent = torch.minimum(torch.minimum(hooked, near), grand)
    return parent


def least_near(values: Tensor) -> Tensor:
    """The least value among each voxel of ``(N, *patch)`` and its neighbours, corners too."""
    for axis in range(1, values.ndim):
        length = values.shape[axis] - 1
        lower, upper = values.narrow(axis, 0, length), values.narrow(axis, 1, length)
        pair = torch.minimum(lower, upper)
        first, last = values.narrow(axis, 0, 1), values.narrow(axis, length, 1)
        values = torch.minimum(torch.cat([first, pair], axis), torch.cat([pair, last], axis))
    return values
