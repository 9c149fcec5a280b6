import json
from pathlib import Path

import pytest

from moderation.audit import Audit, AuditRecord
from moderation.policy import Policy
from moderation.verdict import Category, Severity, Verdict

VERDICT = Verdict(severity=Severity.UNSAFE, categories=(Category.VIOLENT,), probabilities={Severity.UNSAFE: 1.0})


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


def test_a_record_holds_the_decision_and_the_hash_but_not_the_text(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "deep" / "audit.jsonl")
    record = AuditRecord(chat="c", user="u", model="m", direction="prompt", milliseconds=1.5)
    audit.record(record, text="hello", verdict=VERDICT, decision=Policy().decide(VERDICT))
    audit.close()
    (line,) = lines(tmp_path / "deep")
    assert line.pop("time")
    assert line == {
        "event": "decision",
        "chat": "c",
        "user": "u",
        "model": "m",
        "direction": "prompt",
        "severity": "Unsafe",
        "categories": ["Violent"],
        "probabilities": {"Unsafe": 1.0},
        "action": "refuse",
        "flagged": "refuse",
        "unjudged": [],
        "milliseconds": 1.5,
        "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    }


def test_the_text_is_kept_where_the_admin_asks(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.jsonl", keep_text=True)
    audit.record(AuditRecord(), text="你好\ud800")
    audit.close()
    assert "你好" in str(lines(tmp_path)[0]["text"])


def test_two_writers_share_a_path_without_losing_a_line(tmp_path: Path) -> None:
    audits = [Audit(tmp_path / "audit.jsonl") for _ in range(2)]
    for n in range(500):
        for audit in audits:
            audit.record(AuditRecord(chat=str(n)))
    for audit in audits:
        audit.close()
    assert len(lines(tmp_path)) == 1000


def test_records_after_the_end_are_still_written(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.jsonl")
    audit.close()
    audit.record(AuditRecord(chat="late"))
    assert lines(tmp_path)[0]["chat"] == "late"


def test_a_record_that_cannot_be_filed_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    audit = Audit(tmp_path / "file" / "audit.jsonl")
    audit.record(AuditRecord(chat="lost?"))
    audit.close()
    assert '"chat": "lost?"' in capfd.readouterr().err
