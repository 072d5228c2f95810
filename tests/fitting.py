"""One fit of a method on the toy."""

from __future__ import annotations

from toy import ToyDataset

from atso_bench.benchmark import registry
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.splits import make_split
from atso_bench.benchmark.store.stages import Stages, weights_digest
from atso_bench.benchmark.task import Pool, TrainData
from atso_bench.benchmark.trainer import Trainer

STEPS = 28


METHODS = registry.names("methods")


LEARNS_FROM_LABELS_ALONE = {"supervised", "supervised-ema"}


TOY = ToyDataset()


def fit(name, folder, dataset=TOY, fraction="10", *, parity="total", workers=0, seed=0, data=None, **options):
    """The final model's hash, the trainer and the split of one fit on the toy."""
    method = registry.method(name, options)
    spec = RunSpec(dataset.name, name, fraction, seed, Budget.parse(str(STEPS), parity))
    split = make_split(dataset, spec)
    task = dataset.task(split.labelled, (*split.labelled, *split.unlabelled), spec.budget, {})
    trainer = Trainer(task, spec.budget, spec.seed, Stages(folder), workers=workers, method=method)
    data = data or TrainData(Pool(split.labelled, task.images, task.labels), Pool(split.unlabelled, task.images))
    model = method.fit(trainer, data)
    return weights_digest(model), trainer, split
