"""What stands between valves and verdicts: shared by every plugin that moderates."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from moderation.audit import Audit, AuditRecord
from moderation.endpoint import Endpoint
from moderation.guard import Guard
from moderation.notice import NoticeKind, Notices
from moderation.policy import Action, Decision, Policy, Strictness
from moderation.review import Message, Review, known_reviews, review
from moderation.verdict import Verdict
from pipelines.log import log
from pipelines.messages import MessageReading, read, reading, replace, role_of
from pipelines.valves import DEFAULT, NOTHING, Address, Categories, LenientValves, Text, chosen, parse_categories
from pipelines.webui import Body, newest_turn

# Where a message stands, as whose it is judged, and what it holds.
Held = tuple[int, Literal["user", "assistant"], MessageReading]


class ModerationValves(LenientValves):
    """The settings that every plugin of ours has, as Open WebUI's admin page shows them."""

    guard_base_url: Address = Field(
        "http://localhost:8000/v1", description="OpenAI-compatible address of Qwen3Guard-Gen"
    )
    guard_api_key: Text = Field("EMPTY", description="Key of that address")
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
    audit_path: Text = Field(
        DEFAULT, description="Audit file, the day is added to its name; default: beside the valves"
    )
    audit_text: bool = Field(False, description="Keep the text of turns in the audit")


class Moderator:
    """Reviews chats, words notices and writes the audit, under one set of valves.

    Args:
        valves: the settings.
        home: the plugin's folder beside its file.
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
        self.audit = Audit(Path(chosen(valves.audit_path) or home / "audit.jsonl"), keep_text=valves.audit_text)

    def report(self, at_start: Sequence[str | None]) -> None:
        """Say in the log and in the audit which settings were replaced, and what was found `at_start`."""
        for problem in filter(None, [*at_start, *self.valves.problems]):
            log.warning("%s", problem)
            self.audit.record(AuditRecord(event="setting", problem=problem))

    async def review(self, messages: list[Body]) -> list[Review | None]:
        """A review of each message; None for those that nobody judges."""
        judged = self._judged(messages)
        found = await review(
            self._texts(judged), self.guard, self.policy, self.notices, within=self.valves.timeout_seconds
        )
        return self._placed(messages, judged, found)

    def known(self, messages: list[Body]) -> list[Review | None]:
        """What `review` would say without asking the guard; None also for messages that were not judged before."""
        judged = self._judged(messages)
        found = known_reviews(self._texts(judged), self.guard, self.policy, self.notices)
        return self._placed(messages, judged, found)

    def role_of(self, message: Body) -> Literal["user", "assistant"] | None:
        """As whose a message is judged; None for those that nobody judges."""
        return role_of(message) or ("user" if self.valves.system_prompts == "judge" else None)

    def _judged(self, messages: list[Body]) -> list[Held]:
        """The messages that somebody judges."""
        roles = [(index, self.role_of(message)) for index, message in enumerate(messages)]
        return [(index, role, reading(messages[index])) for index, role in roles if role]

    def _texts(self, judged: list[Held]) -> list[Message]:
        return [held.as_said_by(role) for _, role, held in judged]

    def _placed(
        self,
        messages: list[Body],
        judged: list[Held],
        found: Sequence[Review | None],
    ) -> list[Review | None]:
        reviews: list[Review | None] = [None] * len(messages)
        newest = newest_turn(messages)
        for (index, _, held), result in zip(judged, found, strict=True):
            parts = held.media
            if parts and self.valves.images == "withhold" and (result is None or result.decision.passes):
                result = self.unread(parts)
            elif parts and result is None:
                # Nothing to judge is no reason for no record.
                result = Review(Verdict(severity=None), Decision(action=Action.PASS, flagged=Action.PASS), 0, False)
            if index == newest and self._was_removed(messages[index], held.text):
                verdict = Verdict.none("this turn was refused before, and is asked again")
                result = Review(verdict, Decision(action=Action.REFUSE, flagged=Action.REFUSE), 0, False)
            reviews[index] = result
        return reviews

    def unread(self, parts: Iterable[str]) -> Review:
        """The review of a turn with parts that the guard cannot read, where none may pass."""
        verdict = Verdict.none(f"the guard cannot read {', '.join(parts)}")
        closed = self.policy.model_copy(update={"when_unavailable": "withhold"})
        return Review(verdict, closed.decide(verdict), 0, True)

    def _was_removed(self, message: Body, text: str) -> bool:
        """Whether nothing is left of a user's turn, as where an answer to a refused one is asked for again."""
        removed = self.notices.recognises(text, [NoticeKind.TURN_REMOVED])
        return removed and role_of(message) == "user" and self.policy.mode == "enforce"

    def notice(self, result: Review, message: Body, refused: NoticeKind) -> str:
        """What stands in a message's place: `refused`, or that it could not be checked."""
        kind = NoticeKind.NOT_CHECKED if result.decision.action is Action.WITHHOLD else refused
        return self.notices.text(kind, read(message, role="user").text, result.verdict)

    def remove(self, message: Body) -> None:
        """Let a refused message of the history say that it was removed."""
        role = role_of(message) or "user"
        replace(message, self.notices.removed(role, read(message, role=role).text))

    def record(self, head: AuditRecord, message: Body, result: Review) -> None:
        text = reading(message)
        known = {"guard": self.guard.model, "unjudged": text.media, "milliseconds": result.milliseconds}
        self.audit.record(
            head.model_copy(update=known),
            text="\n".join((text.text, *text.asides)),
            verdict=result.verdict,
            decision=result.decision,
        )

    async def aclose(self) -> None:
        await self.guard.aclose()
        self.audit.close()
