"""Cityscapes: 2,975 training and 500 validation frames of street scenes in 21 cities, 19 classes, labelled finely."""

from atso_bench.datasets._frames.cityscapes import CityscapesDataset


class Cityscapes(CityscapesDataset):
    """Cityscapes, fine labels: train is the pool, val the test set."""

    name = "cityscapes"
    summary = "Cityscapes: street scenes, 19 classes, 2,975 training frames, the 500 frames of val as test set"
    source = "https://www.cityscapes-dataset.com"
    licence = "own licence: research and evaluation, no redistribution"
    citation = "Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016"
    release = {"train": 2975, "val": 500}  # noqa: RUF012
