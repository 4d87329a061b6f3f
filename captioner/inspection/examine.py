"""Run of `captioner.doctor`: inspects a data set, writes the reports and prints the verdict."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

from captioner.build import as_list
from captioner.data.processes import cores
from captioner.errors import UsageError
from captioner.files import json_text, output_folder, replace_file
from captioner.image.find import NOT_PHOTOS
from captioner.inspection.captions import Limits
from captioner.inspection.check import CheckUp, check_up
from captioner.inspection.page import report_page
from captioner.inspection.sheet import contact_sheet
from captioner.inspection.text import report_text


def examine(cfg: DictConfig) -> int:
    """Inspect as `cfg` says; writes report.html, report.txt, contact_sheet.jpg and findings.jsonl to `output_dir`.

    Returns:
        The exit status: 1 if something serious was found.
    """
    for name, least in (("max_words", 1), ("photos_per_caption", 2), ("tiles", 0)):
        if cfg[name] < least:
            raise UsageError(f"{name}={cfg[name]} must be at least {least}")
    if cfg.processes is not None and (not isinstance(cfg.processes, int) or cfg.processes < 1):
        raise UsageError(f"processes={cfg.processes} must be a whole number of at least 1, or null")
    folder = output_folder(cfg.output_dir)
    if "on_bad" in cfg.data:
        cfg.data.on_bad = "skip"  # reports all faults, not the first alone
    result = check_up(
        cfg.data,
        splits=as_list(cfg.splits),
        limits=Limits(cfg.max_words, cfg.photos_per_caption, cfg.script),
        processes=cfg.processes or cores(),
    )
    text = report_text(result)
    _write(folder, result, text, tiles=cfg.tiles)
    print(text.encode(errors="replace").decode(), end="")
    print(f"\nreport  {folder / 'report.html'}")
    return int(result.serious)


def _write(folder: Path, result: CheckUp, text: str, *, tiles: int) -> None:
    (folder / NOT_PHOTOS).touch()
    page = report_page(result, tiles=tiles)
    lines = (
        json_text(
            {
                "kind": finding.kind,
                "photos": [asdict(subject) for subject in finding.subjects],
                "detail": finding.detail,
                "count": finding.count,
            }
        )
        for findings in result.findings.values()
        for finding in findings
    )
    for name, content in (
        ("report.txt", text),
        ("report.html", page),
        ("findings.jsonl", "".join(f"{line}\n" for line in lines)),
    ):
        data = content.encode(errors="replace")  # file names may contain bytes that are not text
        replace_file(folder / name, lambda path, data=data: Path(path).write_bytes(data))  # type: ignore[misc]
    sheet = contact_sheet(result)
    target = folder / "contact_sheet.jpg"
    if sheet is None:
        target.unlink(missing_ok=True)
    else:
        replace_file(target, lambda path: sheet.save(path, "JPEG", quality=88))
