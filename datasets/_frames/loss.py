"""Pixel cross-entropy of street scenes, with online hard example mining (OHEM; Shrivastava et al., CVPR 2016)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atso_bench.benchmark.task import IGNORE


class StreetLoss(nn.Module):
    """Mean cross-entropy over the labelled pixels of a batch; of true labels, over the hard ones among them.

    A pixel is hard if the probability of its true class is at most the larger of ``threshold`` and the k-th smallest
    such probability in the batch: the k hardest pixels always train. Pseudo labels train with all their pixels, for
    the hard ones are those where they are most often wrong (CPS, UniMatch and ST do the same).

    Attributes:
        threshold: probability of the true class up to which every pixel is hard; None trains with all pixels.
        kept: k as a share of the pixels of the batch; 200,000 of 2 x 801 x 801 in UniMatch, 50,000 of 800 x 800 in CPS.
    """

    def __init__(self, threshold: float | None, kept: float) -> None:
        super().__init__()
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(f"the threshold of OHEM is a probability above 0, or None, got {threshold}")
        if kept < 0:
            raise ValueError(f"the share of pixels that OHEM keeps is at least 0, got {kept}")
        self.threshold = threshold
        self.kept = kept

    def forward(self, logits: Tensor, label: Tensor, *, pseudo: bool = False) -> Tensor:
        """Scalar loss, 0 if no pixel has a label; nothing here waits for the device.

        Args:
            logits: ``(N, K, H, W)``; computed with in float32 under autocast, too.
            label: ``(N, H, W)`` int64 with ``IGNORE``, or probabilities ``(N, K, H, W)``, which are ignored where
                they add up to less than 0.5.
            pseudo: whether the label is a model's, not an annotator's.
        """
        if label.is_floating_point():
            used = label.sum(1, dtype=torch.float32) >= 0.5
            loss = F.cross_entropy(logits.float(), label.float(), reduction="none")
        else:
            used = label != IGNORE
            loss = F.cross_entropy(logits.float(), label, ignore_index=IGNORE, reduction="none")
        if self.threshold is not None and not pseudo:
            used = used & self._hard(loss.detach(), used, self.threshold)
        return torch.where(used, loss, 0).sum() / used.sum().clamp_min(1)

    def _hard(self, loss: Tensor, labelled: Tensor, threshold: float) -> Tensor:
        """Which pixels are hard; of pixels without label, anything."""
        # a pixel without label counts as easier than any: with fewer than k labelled ones, the limit takes them all
        probability = torch.where(labelled, torch.exp(-loss), 2.0)
        k = min(max(1, round(self.kept * loss.numel())), loss.numel())
        limit = _smallest(probability.flatten(), k).clamp_min(threshold)
        # not "<=": a NaN has to stay in the loss, where the trainer sees it
        return ~(probability > limit)


def _smallest(values: Tensor, k: int) -> Tensor:
    """The k-th smallest of ``(n)``; on CUDA sorting is the faster way to it, for ``kthvalue`` is one block's work."""
    return values.kthvalue(k).values if values.device.type == "cpu" else values.sort().values[k - 1]
