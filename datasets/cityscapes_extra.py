"""Cityscapes with the 19,998 images of train_extra as unlabelled images; their coarse labels are not read."""

from atso_bench.datasets._frames.cityscapes import CityscapesDataset


class CityscapesExtra(CityscapesDataset):
    """Cityscapes whose train_extra images join the unlabelled frames."""

    name = "cityscapes-extra"
    summary = "Cityscapes and the 19,998 images of train_extra without labels"
    source = "https://www.cityscapes-dataset.com"
    licence = "own licence: research and evaluation, no redistribution"
    citation = "Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016"
    packages = (*CityscapesDataset.packages, "leftImg8bit_trainextra.zip")
    release = {"train": 2975, "val": 500, "train_extra": 19998}  # noqa: RUF012
    extra = True
