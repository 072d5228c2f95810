"""A finished run's model, opened again: from its weights and what lies beside them, without the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from atso_bench.benchmark import registry, trained
from atso_bench.benchmark.finding import Chosen
from atso_bench.benchmark.run import model_file, open_task
from atso_bench.benchmark.splits import make_split
from atso_bench.benchmark.store.record import Record
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.trained import Trained

_SEVERAL = "models."
"""What the names of tensors begin with where a model is several networks: see ``registry.mean_of``."""


@dataclass(frozen=True)
class Model:
    """A trained model and what it needs to be used.

    Attributes:
        record: of its run.
        trained: reads images, and knows the task.
        networks: with their weights; several are averaged.
    """

    record: Record
    trained: Trained
    networks: Sequence[nn.Module]

    @property
    def network(self) -> nn.Module:
        """The model that was scored."""
        return registry.mean_of(self.networks)

    @property
    def facts(self) -> dict[str, Any]:
        """Where it comes from, for whoever finds what was made with it."""
        record = self.record
        return {"spec": asdict(record.spec), "score": record.score, "environment": record.environment}


def open_model(chosen: Chosen) -> Model:
    """The model of a run.

    Raises:
        ValueError: if its weights are gone; or if an earlier version made it and its data is gone or has changed.
    """
    record = Record.read(chosen.path)
    spec, file = record.spec, model_file(chosen.results, record.spec)
    weights = Stages.load(file)
    if weights is None:
        raise ValueError(
            f"the weights of {spec.title} are not in {chosen.results / 'stages'}; repeat the run with --fresh"
        )
    portable = trained.kept(file) or _from_data(record)
    found = registry.trained(spec.dataset, portable)
    return Model(record, found, [_network(found, each, record) for each in _apart(weights)])


def _from_data(record: Record) -> Mapping[str, Any]:
    """What an earlier version did not keep beside the weights."""
    spec = record.spec
    dataset = registry.dataset(spec.dataset, spec.configuration)
    if dataset.identity != record.data:
        raise ValueError(f"the data of {spec.dataset} has changed since {spec.title}; its plan may no longer fit")
    return open_task(spec, dataset, make_split(dataset, spec), ()).portable


def _apart(weights: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The weights of each network."""
    if not all(name.startswith(_SEVERAL) for name in weights):
        return [dict(weights)]
    parts: dict[int, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        number, _, inner = name.removeprefix(_SEVERAL).partition(".")
        parts.setdefault(int(number), {})[inner] = tensor
    return [parts[number] for number in sorted(parts)]


def _network(found: Trained, weights: Mapping[str, Tensor], record: Record) -> nn.Module:
    network = found.task.network(start=False)
    if set(weights) != set(network.state_dict()):
        raise ValueError(f"the weights of {record.spec.title} are not those of its network; repeat it with --fresh")
    network.load_state_dict(weights)
    return network
