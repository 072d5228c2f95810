"""Which cases belong to one patient, so that no split divides a patient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from atso_bench.benchmark.reading.user_files import is_printable, read_object

FILE = "patients.json"


def read_patients(folder: Path) -> dict[str, str]:
    """``patients.json`` beside ``dataset.json``, ``{"CASE": "PATIENT", ...}``; empty if there is none.

    Raises:
        ValueError: if it has another form.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    patients = read_object(path)
    wrong = [case for case, patient in patients.items() if not _is_name(patient)]
    if wrong:
        case = wrong[0]
        raise ValueError(
            f'{path} must look like {{"CASE": "PATIENT", ...}}, a name or a whole number for each case, '
            f"got {patients[case]!r} for {case!r}"
        )
    return {case: str(patient).strip() for case, patient in patients.items()}


def patient_problems(
    patients: Mapping[str, str], cases: Iterable[str], train: Mapping[str, str], test: Mapping[str, str]
) -> Iterator[str]:
    """What is wrong with the patients, a line each.

    Args:
        patients: what ``patients.json`` says.
        cases: all cases of the dataset.
        train: case -> patient of ``imagesTr``.
        test: the same of ``imagesTs``.
    """
    if patients:
        for case in sorted(set(cases) - set(patients)):
            yield f"{case}: {FILE} does not name its patient; add the case, with a patient of its own if need be"
    known = {patient: case for case, patient in test.items()}
    for case, patient in sorted(train.items()):
        if patient in known:
            yield (
                f"{case}: its patient {patient!r} is in the test set too, as {known[patient]} (imagesTs); move all "
                "images of a patient into one of the two"
            )


def _is_name(patient: object) -> bool:
    return is_printable(patient) or (isinstance(patient, int) and not isinstance(patient, bool))
