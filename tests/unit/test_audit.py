import json
import logging
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from moderation.audit.audit import Audit
from moderation.audit.audit_file import AuditFile, checked_audit_path
from moderation.audit.audit_record import AuditEntry, AuditRecord
from moderation.audit.audit_writer import AuditWriter
from moderation.policy import Policy
from moderation.verdict import Category, Severity, Verdict

VERDICT = Verdict(severity=Severity.UNSAFE, categories=(Category.VIOLENT,), probabilities={Severity.UNSAFE: 1.0})


def audit_at(path: Path, *, keep_text: bool = False) -> Audit:
    return Audit(AuditWriter(AuditFile(path)), keep_text=keep_text)


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


def test_a_record_holds_the_decision_and_the_hash_but_not_the_text(tmp_path: Path) -> None:
    audit = audit_at(tmp_path / "deep" / "audit.jsonl")
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


def test_the_text_is_kept_if_the_admin_wants_it(tmp_path: Path) -> None:
    audit = audit_at(tmp_path / "audit.jsonl", keep_text=True)
    audit.record(AuditRecord(), text="你好\ud800")
    audit.close()
    assert "你好" in str(lines(tmp_path)[0]["text"])


def test_two_writers_share_a_path_without_losing_a_line(tmp_path: Path) -> None:
    audits = [audit_at(tmp_path / "audit.jsonl") for _ in range(2)]
    for n in range(500):
        for audit in audits:
            audit.record(AuditRecord(chat=str(n)))
    for audit in audits:
        audit.close()
    assert len(lines(tmp_path)) == 1000


def test_records_after_the_end_are_still_written(tmp_path: Path) -> None:
    audit = audit_at(tmp_path / "audit.jsonl")
    audit.close()
    audit.record(AuditRecord(chat="late"))
    assert lines(tmp_path)[0]["chat"] == "late"


def test_a_record_that_cannot_be_filed_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    audit = audit_at(tmp_path / "file" / "audit.jsonl")
    audit.record(AuditRecord(chat="lost?"))
    audit.close()
    assert '"chat": "lost?"' in capfd.readouterr().err


LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
HARD = [*LINE_ENDS, "\x00", "\x1b", "\x7f", "\x9b", "\u202e", "\u2066", "\ufeff", "\ud800", "\udfff", "\udc80"]
CHOSEN = ["chat", "message", "user", "model", "guard", "direction", "problem"]


@pytest.mark.parametrize("field", [*CHOSEN, "unjudged", "text"])
@pytest.mark.parametrize("character", HARD, ids=ascii)
def test_a_record_is_one_line_for_every_reader(tmp_path: Path, field: str, character: str) -> None:
    audit, value = audit_at(tmp_path / "audit.jsonl", keep_text=True), f"a{character}b"
    if field == "text":
        audit.record(AuditRecord(), text=value)
    else:
        audit.record(AuditRecord.model_validate({field: (value,) if field == "unjudged" else value}))
    audit.close()
    (file,) = tmp_path.glob("*.jsonl")
    (line,) = file.read_bytes().decode().splitlines()
    assert line.isprintable()
    assert json.loads(line)[field] == ([value] if field == "unjudged" else value)


@pytest.mark.parametrize("field", CHOSEN)
def test_strings_from_a_client_are_bounded(tmp_path: Path, field: str) -> None:
    audit = audit_at(tmp_path / "audit.jsonl")
    audit.record(AuditRecord.model_validate({field: "字" * 1_000_000, "unjudged": ["x" * 1_000_000] * 1000}))
    audit.close()
    (line,) = lines(tmp_path)
    assert len(str(line[field])) <= 2000
    assert str(line[field]).endswith("字…")
    assert len(str(line["unjudged"])) < 10_000


def test_a_text_of_a_megabyte_is_kept_whole(tmp_path: Path) -> None:
    audit, text = audit_at(tmp_path / "audit.jsonl", keep_text=True), "炸\u2028" * 500_000
    audit.record(AuditRecord(), text=text)
    audit.close()
    assert lines(tmp_path)[0]["text"] == text


@pytest.mark.parametrize("name", [".", "\0", "a\0b", "x" * 300, "\ud800", "/", ""])
def test_the_writer_survives_any_path(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    audit = audit_at(Path(name))
    for number in range(3):
        audit.record(AuditRecord(chat=f"number {number}"))
    audit.close()
    printed = capfd.readouterr().err
    assert all(f'"chat": "number {number}"' in printed for number in range(3))


def test_the_log_says_once_that_a_file_cannot_be_written_and_once_that_it_can_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").write_text("")
    audit = audit_at(tmp_path / "folder" / "audit.jsonl")
    for _ in range(2):
        audit.record(AuditRecord(chat="misfiled"))
    audit.close()
    (tmp_path / "folder").unlink()
    audit.record(AuditRecord(chat="filed"))
    assert capfd.readouterr().err.count('"chat": "misfiled"') == 2
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert "2 records went to standard error" in caplog.messages[1]
    assert [line["chat"] for line in lines(tmp_path / "folder")] == ["filed"]


def test_a_record_that_cannot_be_made_does_not_lose_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> dict[str, object]:
        raise RuntimeError("no words")

    writer = AuditWriter(AuditFile(tmp_path / "audit.jsonl"))
    writer.put(AuditEntry(fail, 0))
    writer.put(AuditEntry(lambda: {"chat": "next"}, 0))
    writer.close()
    assert "could not be put into words" in caplog.text
    assert lines(tmp_path) == [{"chat": "next"}]


@pytest.mark.parametrize(("count", "size"), [(10_050, 1), (100, 2**20)])
def test_dropped_records_are_counted_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int, size: int
) -> None:
    slow, begun = threading.Event(), threading.Event()

    def first() -> dict[str, object]:
        begun.set()
        slow.wait()
        return {"chat": 0}

    writer = AuditWriter(AuditFile(tmp_path / "audit.jsonl"))
    writer.put(AuditEntry(first, 0))
    begun.wait()
    for number in range(1, count + 1):
        writer.put(AuditEntry(lambda number=number: {"chat": number}, size))  # type: ignore[misc]
    slow.set()
    writer.close()
    written = [line for line in lines(tmp_path) if "chat" in line]
    lost = sum(int(str(line["problem"]).split()[0]) for line in lines(tmp_path) if line.get("event") == "lost")
    assert lost > 0
    assert len(written) + lost == count + 1
    assert f"{lost} records came faster" in caplog.text


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from moderation.audit.audit import Audit
from moderation.audit.audit_file import AuditFile
from moderation.audit.audit_record import AuditRecord
from moderation.audit.audit_writer import AuditWriter

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
audit = Audit(AuditWriter(AuditFile(Path(sys.argv[1]))))
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
for number in range(60):
    audit.record(AuditRecord(chat=f"number {number};"))
audit.close()
"""


def test_a_disk_that_accepts_half_a_line_keeps_whole_lines_and_the_rest_is_printed(tmp_path: Path) -> None:
    """A limit on file size acts like a full disk for one process: the write that reaches it is incomplete."""
    command = [sys.executable, "-c", _FULL_DISK, str(tmp_path / "audit.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    written = [str(line["chat"]) for line in lines(tmp_path)]
    printed = [f"number {number};" for number in range(60) if f'"number {number};"' in done.stderr]
    assert written
    assert printed
    assert written + printed == [f"number {number};" for number in range(60)]
    assert "cannot be written" in done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4000


def test_half_a_line_of_a_killed_process_does_not_damage_other_lines(tmp_path: Path) -> None:
    audit = audit_at(tmp_path / "audit.jsonl")
    audit.record(AuditRecord(chat="first"))
    audit.close()
    (file,) = tmp_path.glob("*.jsonl")
    with file.open("a") as torn:
        torn.write('{"chat": "to')
    audit.record(AuditRecord(chat="second"))
    first, half, second = file.read_text().splitlines()
    assert (json.loads(first)["chat"], half, json.loads(second)["chat"]) == ("first", '{"chat": "to', "second")


def test_a_device_as_the_audit_file_loses_no_record(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    audit = audit_at(tmp_path / "audit.jsonl")
    audit.record(AuditRecord())
    audit.close()
    (file,) = tmp_path.glob("*.jsonl")
    for other in ("/dev/full", "/dev/null"):
        file.unlink()
        file.symlink_to(other)
        audit.record(AuditRecord(chat=other))
        assert other in capfd.readouterr().err
    file.unlink()
    os.mkfifo(file)
    audit.record(AuditRecord(chat="pipe"))
    assert '"chat": "pipe"' in capfd.readouterr().err


def unusable(folder: Path) -> list[str]:
    (folder / "file").write_text("")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    long = "x" * 300
    return [
        *(".", "..", "/", "./", "/..", "a\0b", "\0", "a\nb.jsonl", "a\u2028b", "\ud800"),
        *("/dev/null", "/dev/full", "/proc/audit.jsonl", "/sys/deep/audit.jsonl", "/proc/self/status"),
        *(long, f"{folder}/{long}/audit.jsonl", f"{folder}/{'x' * 250}", "x/" * 3000 + "a"),
        *(f"{folder}/{name}" for name in ("folder", "folder/", "new/", "file/audit.jsonl", "loop", "loop/a", "pipe")),
    ]


def test_a_path_that_cannot_be_used_is_refused_with_the_fix(tmp_path: Path) -> None:
    for path in unusable(tmp_path):
        with pytest.raises(ValueError, match=r"name a file|name a regular file|name one in a folder") as refused:
            checked_audit_path(path)
        assert type(refused.value) is ValueError, path
        assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize("name", ["audit.jsonl", "audit", ".audit", "deep/er/audit.log", "审计 1.jsonl", "x" * 240])
def test_a_usable_path_is_tried_and_left_as_it_was(tmp_path: Path, name: str) -> None:
    path = checked_audit_path(str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []
    audit = audit_at(path)
    audit.record(AuditRecord(chat="c"))
    audit.close()
    assert checked_audit_path(str(tmp_path / name)) == path
    (file,) = (file for file in tmp_path.rglob("*") if file.is_file())
    assert json.loads(file.read_text())["chat"] == "c"


def test_a_place_where_no_file_can_be_created_is_refused(tmp_path: Path) -> None:
    """Runs as a user other than root, since root may write everywhere."""
    tmp_path.chmod(0o555)
    code = "import os, sys; from moderation.audit.audit_file import *; os.getuid() or os.setuid(65534); "
    command = [sys.executable, "-c", f"{code}checked_audit_path(sys.argv[1])", f"{tmp_path}/audit.jsonl"]
    done = subprocess.run(command, capture_output=True, text=True)
    tmp_path.chmod(0o755)
    assert "ValueError: no file can be written there" in done.stderr


class Listed:
    """A sink that keeps its records."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []
        self.closed = 0

    def put(self, entry: AuditEntry) -> None:
        self.entries.append(entry)

    def close(self) -> None:
        self.closed += 1


def test_each_sink_gets_each_record(tmp_path: Path) -> None:
    store = Listed()
    audit = Audit(AuditWriter(AuditFile(tmp_path / "audit.jsonl")), store)
    audit.record(AuditRecord(chat="c"), text="hello")
    audit.close()
    assert [entry.values() for entry in store.entries] == lines(tmp_path)
    assert store.closed == 1
