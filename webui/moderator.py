"""What one set of valves makes: policy, guard, notices and audit. Shared by every plugin that moderates."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from moderation.audit.audit import Audit
from moderation.audit.audit_file import AuditFile
from moderation.audit.audit_record import AuditRecord
from moderation.audit.audit_writer import AuditWriter
from moderation.endpoint.endpoint import Endpoint
from moderation.guard import Guard
from moderation.notices.notice import NoticeKind, Notices
from moderation.policy import Action, Policy, Strictness
from moderation.probe import is_probe
from moderation.review import Review
from moderation.verdict import Verdict
from webui.bodies import Body
from webui.guard_hint import guard_hint, is_about_guard, with_hint
from webui.log import log
from webui.messages import MessageReading, replace, role_of
from webui.plugin_status import plugin_status
from webui.settings import (
    DEFAULT,
    NOTHING,
    Address,
    AuditPath,
    Categories,
    LenientValves,
    Text,
    chosen,
    parse_categories,
    words,
)


class ModerationValves(LenientValves):
    """The settings that every plugin of ours has, as Open WebUI's admin page shows them."""

    guard_base_url: Address = Field(
        "http://localhost:8000/v1", description="OpenAI-compatible address of Qwen3Guard-Gen"
    )
    guard_api_key: Text = Field(
        "EMPTY", description="Key of that address", json_schema_extra={"input": {"type": "password"}}
    )
    guard_model: Text = Field("auto", description="Model name there; auto takes the one that it lists")
    guard_context_tokens: int = Field(0, ge=0, description="The guard's context length; 0 asks the server")
    timeout_seconds: float = Field(10, gt=0, le=300, description="Longest wait for a verdict")
    strictness: Strictness = Field("strict", description="loose lets Controversial turns pass")
    block_threshold: float = Field(
        0, ge=0, le=1, description="Refuse from this probability of harm on; 0 goes by the guard's label"
    )
    allowed_categories: Categories = Field(NOTHING, description="Categories that pass all the same, comma-separated")
    mode: Literal["enforce", "monitor"] = Field("enforce", description="monitor only records")
    when_unavailable: Literal["withhold", "allow"] = Field(
        "withhold", description="What happens to a turn that could not be judged"
    )
    exempt_roles: Text = Field(NOTHING, description="Roles whose chats are not judged, such as admin")
    system_prompts: Literal["trust", "judge"] = Field("trust", description="judge if users may write their own")
    images: Literal["allow", "withhold"] = Field(
        "allow", description="What happens to images: the guard reads text only"
    )
    notice_language: Literal[
        "auto", "en", "zh", "es", "fr", "de", "pt", "it", "ru", "ja", "ko", "ar", "hi", "vi", "id", "tr"
    ] = Field("auto", description="auto follows the language of the turn")
    notice_prompt: Text = Field(DEFAULT, description="Your own text for a refused prompt")
    notice_answer: Text = Field(DEFAULT, description="Your own text for a withheld answer")
    notice_unchecked: Text = Field(DEFAULT, description="Your own text where no verdict could be reached")
    show_categories: bool = Field(False, description="Name the categories in the notice")
    audit_path: AuditPath = Field(
        DEFAULT, description="Audit file, the day is added to its name; default: next to the valves"
    )
    audit_text: bool = Field(False, description="Keep the text of turns in the audit")


class Moderator:
    """Judges, words notices and writes the audit, under one set of valves.

    Args:
        valves: the settings.
        home: the plugin's own folder.
    """

    def __init__(self, valves: ModerationValves, home: Path) -> None:
        self.valves = valves
        self.policy = Policy(
            strictness=valves.strictness,
            block_threshold=valves.block_threshold,
            allowed_categories=parse_categories(valves.allowed_categories),
            mode=valves.mode,
            when_unavailable=valves.when_unavailable,
        )
        texts = {
            NoticeKind.PROMPT_REFUSED: chosen(valves.notice_prompt),
            NoticeKind.ANSWER_WITHHELD: chosen(valves.notice_answer),
            NoticeKind.NOT_CHECKED: chosen(valves.notice_unchecked),
        }
        self.notices = Notices(
            language=valves.notice_language,
            texts={kind: text for kind, text in texts.items() if text},
            show_categories=valves.show_categories,
        )
        self.guard = Guard(
            Endpoint(valves.guard_base_url, valves.guard_api_key, valves.guard_model, valves.timeout_seconds),
            timeout=valves.timeout_seconds,
            context_tokens=valves.guard_context_tokens,
        )
        file = AuditFile(Path(chosen(valves.audit_path) or home / "audit.jsonl"))
        self.audit = Audit(AuditWriter(file), keep_text=valves.audit_text)
        self._is_reported = False
        self._checking: asyncio.Task[None] | None = None

    def report(self, at_start: Sequence[str | None]) -> None:
        """Say in the log and in the audit which settings were replaced, and what was found `at_start`."""
        for problem in filter(None, [*at_start, *self.valves.problems]):
            self.report_setting(problem)

    def report_setting(self, problem: str) -> None:
        """Say in the log and in the audit what is wrong with a setting."""
        log.warning("%s", problem)
        self.audit.record(AuditRecord(event="setting", problem=problem))

    def check_guard(self) -> None:
        """Ask the guard whether it can be asked, and report if not, before anybody chats. Does not wait."""
        self._checking = asyncio.get_running_loop().create_task(self._check_guard())

    async def _check_guard(self) -> None:
        if problem := await self.guard.obstacle():
            self._report_guard(problem)

    def _report_guard(self, problem: str) -> None:
        """Report what keeps the guard from verdicts: once, until it gives one again."""
        if not self._is_reported and is_about_guard(problem):
            self._is_reported = True
            self.report_setting(self._hint(problem))

    def _hint(self, problem: str) -> str:
        wrong = (line for line in self.valves.problems if line.lower().removeprefix("qwen3guard_").startswith("guard_"))
        default = type(self.valves).model_fields["guard_base_url"].default
        return guard_hint(problem, next(wrong, None), unset=self.valves.guard_base_url == default)

    def exempts(self, role: str) -> bool:
        """Whether nobody judges the chats of users with this role."""
        return role.lower() in (name.lower() for name in words(self.valves.exempt_roles))

    def role_of(self, message: Body) -> Literal["user", "assistant"] | None:
        """As whose message it is judged; None for those that nobody judges."""
        return role_of(message) or ("user" if self.valves.system_prompts == "judge" else None)

    def unread(self, parts: Iterable[str]) -> Review:
        """The review of a turn with parts that the guard cannot read, if none may pass."""
        verdict = Verdict.none(f"the guard cannot read {', '.join(parts)}, and the valve images withholds it")
        closed = self.policy.model_copy(update={"when_unavailable": "withhold"})
        return Review(verdict, closed.decide(verdict), 0, True)

    def failed(self, head: AuditRecord, what: str, error: Exception) -> Review:
        """The review of a turn that an error of ours kept from a verdict: a missing verdict like any other.

        The error is logged in whole, and recorded under `head`.
        """
        log.exception("%s: this is a bug", what, exc_info=error)
        verdict = Verdict.none(f"{what}: {type(error).__name__}")
        review = Review(verdict, self.policy.decide(verdict), 0, True)
        self.record(head, MessageReading("", (), ()), review)
        return review

    def notice(
        self, review: Review, text: str, refused: NoticeKind, language: str | None = None, role: str = ""
    ) -> str:
        """The notice in place of the turn `text`: `refused`, or that it could not be checked.

        Args:
            language: that the reader set, if it is known.
            role: the reader's. An admin reads why it could not be checked and, of a probe, what judged it.
        """
        if review.decision.action is not Action.WITHHOLD:
            notice = self.notices.text(refused, text, review.verdict, language)
            if role != "admin" or not is_probe(text):
                return notice
            return with_hint(notice, plugin_status(self.valves.guard_base_url, self.guard.facts))
        notice = self.notices.text(NoticeKind.NOT_CHECKED, text, review.verdict, language)
        problem = review.verdict.problem
        return with_hint(notice, self._hint(problem)) if role == "admin" and problem else notice

    def remove(self, message: Body, text: str, review: Review, language: str | None = None) -> str:
        """Let a message of the history say that it was refused, or that it could not be checked; gives these words.

        Args:
            text: what it said.
            language: that the reader set, if it is known.
        """
        if review.decision.action is Action.WITHHOLD:
            notice = self.notices.text(NoticeKind.TURN_UNCHECKED, text, reader_language=language)
        else:
            notice = self.notices.removed(role_of(message) or "user", text, language)
        replace(message, notice)
        return notice

    def record(self, head: AuditRecord, reading: MessageReading, review: Review) -> None:
        """Audit a message."""
        if review.verdict.reached:
            self._is_reported = False
        elif review.verdict.problem:
            self._report_guard(review.verdict.problem)
        known = {"guard": self.guard.model, "unjudged": reading.media, "milliseconds": review.milliseconds}
        self.audit.record(
            head.model_copy(update=known),
            text="\n".join((reading.text, *reading.asides)),
            verdict=review.verdict,
            decision=review.decision,
        )

    def record_exempt(self, head: AuditRecord, role: str) -> None:
        """Audit a turn that nobody judges."""
        known = {"action": "exempt", "problem": f"role {role.lower()} is exempt"}
        self.audit.record(head.model_copy(update=known))

    async def aclose(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
        await self.guard.aclose()
        # A slow disk is no reason for others to wait.
        await asyncio.to_thread(self.audit.close)
