"""The largest component of each class, for labels that are made within a step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atso_bench.benchmark.training.labels import largest_components
from atso_bench.methods._components import largest, largest_without_host, least_near, roots


def noise(shape, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, classes, shape, generator=generator)


def spiral(size):
    """One winding line of a voxel's width: no path through a component is longer."""
    label = torch.zeros(1, size, size, dtype=torch.int64)
    top, bottom, left, right = 0, size - 1, 0, size - 1
    while top <= bottom and left <= right:
        label[0, top, max(0, left - 2) : right + 1] = 1
        label[0, top : bottom + 1, right] = 1
        label[0, bottom, left : right + 1] = 1
        label[0, top + 2 : bottom + 1, left] = 1
        top, bottom, left, right = top + 2, bottom - 2, left + 2, right - 2
    return label


def comb(size):
    """Teeth that one line joins at their far ends."""
    label = torch.zeros(1, size, size, dtype=torch.int64)
    label[0, :, ::2] = 1
    label[0, -1] = 1
    return label


LABELS = {
    "sparse": noise((3, 40, 33), 9, 0),
    "dense": noise((3, 40, 33), 2, 1),
    "one class": torch.ones(2, 9, 9, dtype=torch.int64),
    "empty": torch.zeros(2, 9, 9, dtype=torch.int64),
    "three axes": noise((2, 13, 20, 17), 6, 2),
    "thin": noise((2, 1, 30), 3, 3),
    "spiral": spiral(129),
    "comb": comb(101),
    "mirrored": comb(101).flip(1, 2),
    "blobs": (torch.nn.functional.avg_pool2d(noise((2, 1, 128, 128), 2, 4).float(), 7, 1, 3)[:, 0] > 0.5).long(),
}


@pytest.mark.parametrize("name", LABELS)
def test_it_is_nnunets_largest_component_of_every_class_in_every_patch(name):
    label = LABELS[name]
    expected = np.stack([largest_components(one) for one in label.numpy()])
    classes = int(label.max()) + 2
    assert (largest_without_host(label, classes).numpy() == expected).all()
    assert (largest(label, classes).numpy() == expected).all()


def test_of_equal_components_all_stay_and_corners_connect():
    label = torch.tensor([[[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 2, 0]]])
    assert largest_without_host(label, 3).tolist() == [[[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 2, 0]]]


def test_components_of_two_patches_never_join():
    assert roots(torch.ones(2, 3, 3, dtype=torch.bool)).tolist() == [0] * 9 + [9] * 9


def test_the_least_value_near_is_that_of_the_neighbours_and_corners():
    values = noise((2, 6, 5, 4), 1000, 5)
    pooled = -torch.nn.functional.max_pool3d(-values[:, None].double(), 3, 1, 1)[:, 0]
    assert torch.equal(least_near(values).double(), pooled)
