from __future__ import annotations

from pathlib import Path

import pytest

from captioner.errors import UsageError
from captioner.metrics.spice import spice


def test_a_missing_java_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"Java 8 to 15.*SPICE"):
        spice(["a dog"], [["a dog"]])


def test_a_java_that_is_too_new_is_refused_with_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"17.0.15\" 2025-04-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"Java 8 to 15.*Java 17"):
        spice(["a dog"], [["a dog"]])
