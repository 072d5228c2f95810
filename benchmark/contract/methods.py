"""What every method must obey, ours and those of plug-ins: each check takes a method's fits on the toy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from atso_bench.benchmark.contract.fitting import STEPS, Fits
from atso_bench.benchmark.contract.toy import ToyDataset
from atso_bench.benchmark.store.stages import Stages, weights_digest
from atso_bench.benchmark.training import loop


class BrokenError(AssertionError):
    """A method does not obey."""


def require(true: object, said: str) -> None:
    """Raise `BrokenError` with these words unless it is true."""
    if not true:
        raise BrokenError(said)


def same_seed_same_weights(fits: Fits) -> None:
    """Two fits with one seed end in the same weights, with another seed in others."""
    first, again, other = fits.usual().weights, fits.fit().weights, fits.usual(seed=1).weights
    require(first == again, "two fits differ; draw random numbers from torch's global generator alone")
    require(first != other, "another seed changes nothing; take the network from trainer.new_model()")


def spends_the_budget_and_no_more(fits: Fits) -> None:
    """All trainings together have the budget's steps."""
    trainer = fits.usual().trainer
    spent = sum(phase.steps for phase in trainer.phases)
    require(trainer.spent == spent == STEPS, f"it spent {spent} of {STEPS} steps; trainer.shares divides them")


def with_parity_phase_each_training_has_the_whole_budget(fits: Fits) -> None:
    """``--parity phase`` gives each training the budget's steps."""
    trainer = fits.fit(parity="phase").trainer
    found = {phase.steps for phase in trainer.phases if phase.kind == "train"}
    require(found == {STEPS}, f"its trainings have {sorted(found)} steps instead of {STEPS} each")


def with_parity_line_the_result_has_the_budget_in_its_own_line_of_training(fits: Fits) -> None:
    """``--parity line`` gives the trainings that lead to the result the budget's steps."""
    found = fits.fit(parity="line").line
    require(found == STEPS, f"the result has {found} steps behind it instead of {STEPS}")


def labels_of_unlabelled_and_test_cases_change_nothing(fits: Fits) -> None:
    """Other labels there leave every weight as it is."""
    usual = fits.usual()
    hidden = frozenset((*usual.split.unlabelled, *usual.split.test))
    found = fits.fit(ToyDataset(twisted_labels=hidden)).weights
    require(found == usual.weights, "labels that it must not know change its weights")


def images_of_test_cases_change_nothing(fits: Fits) -> None:
    """Other images in the test set leave every weight as it is."""
    usual = fits.usual()
    found = fits.fit(ToyDataset(twisted_images=frozenset(usual.split.test))).weights
    require(found == usual.weights, "images of the test set change its weights")


def unlabelled_images_change_the_weights_unless_it_learns_from_labels_alone(fits: Fits) -> None:
    """Catches an unlabelled loss without a gradient, as in microsoft/Semi-supervised-learning#102."""
    usual = fits.usual()
    found = fits.fit(ToyDataset(twisted_images=frozenset(usual.split.unlabelled))).weights
    if fits.learns_from_labels_alone:
        require(found == usual.weights, "it is to learn from labels alone, but unlabelled images change its weights")
    else:
        require(
            found != usual.weights,
            "unlabelled images change nothing: the unlabelled loss has no gradient, or is left out. If it is to learn "
            "from labels alone, say so in the class: labels_alone: ClassVar[bool] = True",
        )


def learns_in_two_and_in_three_dimensions_from_one_labelled_case(fits: Fits) -> None:
    """Frames and volumes, with one labelled case."""
    for shape in ((16, 16), (12, 12, 12)):
        found = fits.fit(ToyDataset(shape), "1cases")
        require(found.weights != weights_digest(found.trainer.new_model()), f"it learns nothing in {len(shape)}D")


def works_without_unlabelled_cases(fits: Fits) -> None:
    """With all labels there is no unlabelled case, and the budget is spent."""
    trainer = fits.fit(ToyDataset(unlabelled=()), "100").trainer
    require(trainer.spent == STEPS, f"without unlabelled cases it spent {trainer.spent} of {STEPS} steps")


def works_with_one_unlabelled_case_and_a_batch_of_one(fits: Fits) -> None:
    """The smallest pools and batches."""
    tiny = ToyDataset(cases=6, unlabelled=())
    trainer = fits.fit(replace(tiny, recipe=replace(tiny.recipe, batch=1)), "1cases").trainer
    require(trainer.spent == STEPS, f"with a batch of one it spent {trainer.spent} of {STEPS} steps")


def goes_on_from_every_finished_phase_to_the_same_weights(fits: Fits) -> None:
    """Stops after each phase that it finishes; every start must reuse all that is finished, and so make one more."""
    usual, folder = fits.usual(), fits.folder()
    phases = usual.trainer.phases
    for done in range(1, len(phases)):
        with mock.patch.object(Stages, "finish", staticmethod(_once(Stages.finish))):
            require(_is_stopped(fits, folder), "it has fewer phases than before")
        found = len(list(folder.glob("*/*/phase.json")))
        require(found == done, f"{found} phases are stored instead of {done}: a phase is not found again")
    again = fits.fit(folder=folder)
    reused = [phase.reused for phase in again.trainer.phases]
    require(reused == [True] * (len(phases) - 1) + [False], "a finished phase was made again")
    require(again.weights == usual.weights, "the fit that went on ended in other weights")
    steps = [[phase.steps for phase in each] for each in (again.trainer.phases, phases)]
    require(steps[0] == steps[1], f"its trainings had {steps[0]} steps instead of {steps[1]}")


def goes_on_from_a_checkpoint_inside_a_training_to_the_same_weights(fits: Fits) -> None:
    """Stops after five steps; the fit that goes on ends in the same weights."""
    folder, steps, one_step = fits.folder(), iter(range(5)), loop.Training._one_step

    def stopping(training: Any, batch: Any) -> None:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        one_step(training, batch)

    with _checkpoints_after_every_step():
        with mock.patch.object(loop.Training, "_one_step", stopping):
            require(_is_stopped(fits, folder), "it trains for fewer than six steps")
        require(list(folder.glob("*/*/progress.pt")), "there is no checkpoint")
        found = fits.fit(folder=folder).weights
    require(found == fits.usual().weights, "the fit that went on ended in other weights; keep no state of your own")


@contextmanager
def _checkpoints_after_every_step() -> Iterator[None]:
    with mock.patch.object(loop, "CHECKPOINT_SECONDS", 0.0):
        yield


def _once(finish: Callable[..., Any]) -> Callable[..., None]:
    """``finish`` for the first phase; at the next one the process is stopped."""
    finished: list[Any] = []

    def stopping(place: Path, phase: Any) -> None:
        if finished:
            raise KeyboardInterrupt
        finished.append(finish(place, phase))

    return stopping


def _is_stopped(fits: Fits, folder: Path) -> bool:
    try:
        fits.fit(folder=folder)
    except KeyboardInterrupt:
        return True
    return False


CHECKS: tuple[Callable[[Fits], None], ...] = (
    same_seed_same_weights,
    spends_the_budget_and_no_more,
    with_parity_phase_each_training_has_the_whole_budget,
    with_parity_line_the_result_has_the_budget_in_its_own_line_of_training,
    labels_of_unlabelled_and_test_cases_change_nothing,
    images_of_test_cases_change_nothing,
    unlabelled_images_change_the_weights_unless_it_learns_from_labels_alone,
    learns_in_two_and_in_three_dimensions_from_one_labelled_case,
    works_without_unlabelled_cases,
    works_with_one_unlabelled_case_and_a_batch_of_one,
    goes_on_from_every_finished_phase_to_the_same_weights,
    goes_on_from_a_checkpoint_inside_a_training_to_the_same_weights,
)
