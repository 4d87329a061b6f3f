"""Inspection of a whole data set: opens every split, reads every photo, compares every caption."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from captioner.data.integrity.near_duplicates import group_photos
from captioner.data.integrity.reading_report import ReadingReport
from captioner.data.open import open_split, split_names
from captioner.data.processes import in_processes
from captioner.data.samples import CaptionDataset, repeated_ids
from captioner.errors import CaptionerError, UsageError, did_you_mean
from captioner.files import json_text
from captioner.inspection.captions import CaptionFacts, Limits, inspect_captions
from captioner.inspection.findings import MEANINGS, Finding, Kind, Subject
from captioner.inspection.photos import PhotoFacts, PhotoInspector


@dataclass(frozen=True, slots=True)
class CheckUp:
    """The results of an inspection.

    Attributes:
        name: The dataset's name.
        datasets: The splits that could be opened.
        findings: The findings by kind, the most serious first.
        sides: The number of photos by their shorter side in pixels.
        captions: The results for the captions.
    """

    name: str
    datasets: Mapping[str, CaptionDataset]
    findings: dict[Kind, list[Finding]]
    sides: Counter[int]
    captions: CaptionFacts

    def count(self, kind: Kind) -> int:
        """The number of findings of a kind."""
        return sum(finding.count for finding in self.findings[kind])

    @property
    def serious(self) -> bool:
        """Whether anything serious was found."""
        return any(MEANINGS[kind].serious for kind in self.findings)


def check_up(data: DictConfig, *, splits: Sequence[str], limits: Limits, processes: int) -> CheckUp:
    """Inspect a data set.

    Args:
        data: A `data` configuration. With `on_bad=skip` all faults are reported, not the first alone.
        splits: The splits to inspect; empty for all.
        limits: Thresholds for captions.
        processes: Processes that read photos.

    Raises:
        CaptionerError: No split can be opened; the error of the first.
        UsageError: A split is not one of the data set's.
    """
    findings: list[Finding] = []
    datasets = _open(data, splits, findings)
    positions = [(split, index) for split, dataset in datasets.items() for index in range(len(dataset))]
    facts: list[PhotoFacts] = []
    with tqdm(total=len(positions), desc="reading photos", unit="photo", disable=None, leave=False) as bar:
        for fact in in_processes(PhotoInspector(datasets), positions, processes=processes):
            facts.append(fact)
            bar.update()
    subjects = [Subject(split, index, datasets[split][index].id) for split, index in positions]
    findings += _photo_findings(subjects, facts)
    findings += _duplicates(subjects, facts)
    captions = inspect_captions(datasets, limits)
    findings += captions.findings
    findings += _omissions(datasets)  # last: shards count their captions while these are read
    findings += _repeated_ids(subjects)
    by_kind: dict[Kind, list[Finding]] = {}
    for kind in MEANINGS:
        if of_kind := [finding for finding in findings if finding.kind == kind]:
            by_kind[kind] = of_kind
    sides = Counter(min(fact.size) for fact in facts if fact.size)
    return CheckUp(str(data.name), datasets, by_kind, sides, captions)


def _open(data: DictConfig, splits: Sequence[str], findings: list[Finding]) -> dict[str, CaptionDataset]:
    """Every split by name, without splits that are configured like an earlier one."""
    known = split_names(data)
    for split in splits:
        if split not in known:
            raise UsageError(
                f"split {split} is not one of this dataset's: {', '.join(known)}{did_you_mean(split, known)}"
            )
    opened: list[tuple[str, Any]] = []
    datasets: dict[str, CaptionDataset] = {}
    first: CaptionerError | None = None
    for split in splits or known:
        node = OmegaConf.to_container(data[split], resolve=True)
        if any(node == other for _, other in opened):
            continue
        opened.append((split, node))
        try:
            datasets[split] = open_split(data, split)
        except CaptionerError as error:
            first = first or error
            findings.append(Finding("unopened", (), f"{split}: {error}"))
    if not datasets:
        raise first or UsageError("the dataset has no splits")
    return datasets


def _omissions(datasets: Mapping[str, CaptionDataset]) -> list[Finding]:
    """The entries that readers left out. A fault in a file of several splits is reported once."""
    found: dict[tuple[Kind, str], Finding] = {}
    for split, dataset in datasets.items():
        report = getattr(dataset, "report", None)
        if not isinstance(report, ReadingReport):
            continue
        for message in report.messages:
            found.setdefault(("faulty", message), Finding("faulty", (), message))
        for name in report.missing:
            found.setdefault(("missing", name), Finding("missing", (Subject(split, None, name),)))
        rest: tuple[tuple[Kind, int], ...] = (
            ("faulty", report.faults - len(report.messages)),
            ("missing", report.missing_images - len(report.missing)),
            ("uncaptioned", report.uncaptioned_images),
            ("empty", report.empty_captions),
        )
        for kind, number in rest:
            if number:
                more = " more" if kind in ("faulty", "missing") else ""
                found[kind, split] = Finding(kind, (), f"{split}: {number:,}{more}", number)
    return list(found.values())


def _repeated_ids(subjects: Sequence[Subject]) -> list[Finding]:
    """Photos of a split that share an id, so that their captions cannot be distinguished."""
    repeated = repeated_ids(json_text([subject.split, subject.name]) for subject in subjects)
    return [
        Finding("faulty", tuple(subjects[index] for index in indices), "one id for several photos")
        for indices in repeated.values()
    ]


def _photo_findings(subjects: Sequence[Subject], facts: Sequence[PhotoFacts]) -> list[Finding]:
    found: list[Finding] = []
    for subject, fact in zip(subjects, facts, strict=True):
        if fact.problem is not None:
            found.append(Finding("unreadable", (subject,), fact.problem))
        if fact.mode not in (None, "RGB"):
            found.append(Finding("mode", (subject,), str(fact.mode)))
        if fact.orientation != 1:
            found.append(Finding("turned", (subject,), f"orientation {fact.orientation}"))
        if fact.animated:
            found.append(Finding("animated", (subject,)))
    return found


def _duplicates(subjects: Sequence[Subject], facts: Sequence[PhotoFacts]) -> list[Finding]:
    """Groups of identical or near-identical photos; leaks if they are in several splits."""
    found: list[Finding] = []
    for group in group_photos([fact.fingerprint for fact in facts]):
        members = tuple(subjects[index] for index in group)
        digests: dict[bytes, set[str]] = {}
        for index in group:
            digests.setdefault(facts[index].fingerprint.digest, set()).add(subjects[index].split)
        if len({member.split for member in members}) > 1:
            kind: Kind = "leak_file" if any(len(splits) > 1 for splits in digests.values()) else "leak"
        else:
            kind = "duplicate" if len(digests) == 1 else "near_duplicate"
        found.append(Finding(kind, members))
    return found
