"""The loss on volumes: Dice and cross-entropy, as nnU-Net has it, on all heads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor, nn

from atso_bench.benchmark.task import IGNORE


class DeepSupervisedLoss(nn.Module):
    """Dice and cross-entropy, summed over the heads with weights 1, 1/2, 1/4 ... 0, as in nnUNetTrainer.

    Hard labels ``(N, *patch)`` are resized for a head by nearest-exact as nnU-Net does, soft ones ``(N, K, *patch)`` by
    averaging. With ``partial`` voxels of hard labels may be ``IGNORE``.
    """

    def __init__(self, batch_dice: bool) -> None:
        super().__init__()
        dice = {"batch_dice": batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": False}
        self.hard = DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss)

    def forward(self, output: Tensor | Sequence[Tensor], label: Tensor, *, partial: bool = False) -> Tensor:
        heads = [output] if isinstance(output, Tensor) else list(output)
        weights = [0.5**number for number in range(len(heads))]
        if len(heads) > 1:
            weights[-1] = 0.0
        losses = [
            w / sum(weights) * self._one(head, label, partial) for w, head in zip(weights, heads, strict=True) if w
        ]
        return torch.stack(losses).sum()

    def _one(self, head: Tensor, label: Tensor, partial: bool) -> Tensor:
        size = head.shape[2:]
        if label.ndim == head.ndim:
            soft = label if label.shape[2:] == size else F.interpolate(label, size=size, mode="area")
            return F.cross_entropy(head, soft) + self.hard.dc(head, soft)
        hard = label[:, None]
        if hard.shape[2:] != size:
            hard = F.interpolate(hard.float(), size=size, mode="nearest-exact").long()
        loss: Tensor = self._known(head, hard) if partial else self.hard(head, hard)
        return loss

    def _known(self, head: Tensor, label: Tensor) -> Tensor:
        """nnU-Net's loss with an ignore label, which asks the device how many voxels count; this does not wait."""
        known = label != IGNORE
        dice: Tensor = self.hard.dc(head, torch.where(known, label, 0), loss_mask=known)
        entropy = F.cross_entropy(head, label[:, 0], ignore_index=IGNORE, reduction="sum")
        return dice + entropy / known.sum().clamp_min(1)
