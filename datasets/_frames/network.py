"""DeepLabV3+ (Chen et al., ECCV 2018) with a ResNet encoder, by segmentation-models-pytorch."""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # timm uses what torch is about to drop
    from segmentation_models_pytorch import DeepLabV3Plus
    from segmentation_models_pytorch.encoders import encoders, get_encoder

MULTIPLE = 16
"""The network halves its input four times; other sizes are padded."""


class StreetNetwork(nn.Module):
    """``(N, 3, H, W)`` to logits ``(N, K, H, W)`` for any H and W.

    Attributes:
        network: the library's own network, which takes multiples of ``MULTIPLE``.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = DeepLabV3Plus(encoder_weights=None, **arguments)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        padded = F.pad(image, (0, -width % MULTIPLE, 0, -height % MULTIPLE))  # by the mean colour
        logits: Tensor = self.network(padded)
        return logits[..., :height, :width]


def pretrained(weights: str, encoder: str, sha256: str = "") -> tuple[dict[str, Tensor] | None, str]:
    """The encoder's weights to start from, and what to call them in the record: by content, not by name.

    Args:
        weights: ``none``; ``imagenet``, which segmentation-models-pytorch fetches from the Hugging Face Hub or finds in
            its cache; or a file: the state of a torchvision or timm ResNet, or of an exported model of ours, as
            safetensors or as torch saves it.
        encoder: one of ``_street_recipes.ENCODERS``.
        sha256: of the file; another one is refused. Empty for any.

    Raises:
        ValueError: if they cannot be had, or do not fit the encoder.
    """
    if weights == "none":
        return None, "none"
    if sha256 and weights != "imagenet" and file_hash(weights) != sha256:
        raise ValueError(f"recipe.weights: {weights} is no longer the file with SHA-256 {sha256[:12]}... of this run")
    state = _from_hub(encoder) if weights == "imagenet" else _from_file(Path(weights))
    fitting = _fitted(state, encoder, weights)
    total = hashlib.sha256()
    for name, tensor in sorted(fitting.items()):
        total.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return fitting, f"{'imagenet' if weights == 'imagenet' else 'file'}, sha256 {total.hexdigest()[:12]}"


def file_hash(weights: str) -> str:
    """SHA-256 of the file of weights.

    Raises:
        ValueError: if it cannot be read.
    """
    try:
        with Path(weights).open("rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise _unreadable(Path(weights), error) from error


@functools.lru_cache(maxsize=2)
def _from_hub(encoder: str) -> dict[str, Tensor]:
    repository = encoders[encoder]["pretrained_settings"]["imagenet"]["repo_id"]
    try:
        _reach(repository, encoders[encoder]["pretrained_settings"]["imagenet"]["revision"])
        found: dict[str, Tensor] = get_encoder(encoder, weights="imagenet").state_dict()
    except Exception as error:  # the hub's library raises its own kinds, and those of what it uses
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"recipe.weights=imagenet needs {repository} from the Hugging Face Hub, which cannot be had here "
            f"({reason}). On a machine with network, `hf download {repository} model.safetensors` gets the file; bring "
            f"it here and give --option recipe.weights=FILE. Or start from random weights: --option recipe.weights=none"
        ) from error
    return found


def _reach(repository: str, revision: str) -> None:
    """Fail at once where the hub's library would try for half a minute: without the files and without network."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        for name in ("config.json", "model.safetensors"):
            hf_hub_download(repository, filename=name, revision=revision, local_files_only=True)
    except LocalEntryNotFoundError:
        HfApi().model_info(repository, timeout=10)


def _from_file(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of any other kind
        raise _unreadable(path, error) from error
    for _ in range(2):  # checkpoints hold the state under one of these names
        inner = [state[name] for name in ("state_dict", "model") if isinstance(state, Mapping) and name in state]
        state = inner[0] if inner and isinstance(inner[0], Mapping) else state
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided
        for name, value in state.items()
    ):
        raise ValueError(f"recipe.weights: {path} holds no state of a network (names and dense tensors)")
    return {name: value.detach() for name, value in state.items()}


def _unreadable(path: Path, error: Exception) -> ValueError:
    """In our words: torch's own advise to load what it has refused."""
    kind = "it is damaged, of another kind, or holds more than tensors; export or download it again"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else kind
    return ValueError(
        f"recipe.weights must be none, imagenet or a file of weights (.safetensors, or .pth as torch saves it), "
        f"but {path} cannot be read: {reason}"
    )


def _fitted(state: Mapping[str, Tensor], encoder: str, source: str) -> dict[str, Tensor]:
    """The encoder's part of the state, under the encoder's own names.

    Raises:
        ValueError: if names or shapes differ.
    """
    own = get_encoder(encoder, weights=None, output_stride=MULTIPLE).state_dict()
    renamed = {_plain(name): tensor for name, tensor in state.items()}
    fitting = {
        name: renamed.get(name, own[name]) if name.endswith("num_batches_tracked") else renamed.get(name)
        for name in own
    }
    wrong = [name for name, tensor in fitting.items() if tensor is None or tensor.shape != own[name].shape]
    if wrong:
        raise ValueError(
            f"recipe.weights={source} does not fit {encoder}: {len(wrong)} of {len(own)} tensors are missing or have "
            f"another shape, {', '.join(wrong[:3])} among them; is it another ResNet? See recipe.encoder"
        )
    found = {name: tensor.to(own[name].dtype) for name, tensor in fitting.items() if tensor is not None}
    if bad := [name for name, tensor in found.items() if not tensor.isfinite().all()]:
        raise ValueError(f"recipe.weights={source} holds values that are not finite, in {', '.join(bad[:3])}")
    return found


def _plain(name: str) -> str:
    for prefix in ("module.", "network.", "encoder.", "backbone."):
        name = name.removeprefix(prefix)
    return name
