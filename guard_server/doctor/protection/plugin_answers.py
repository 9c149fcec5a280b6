"""What the plugins tell an admin who asks with the probe's mark: their version, and how they ask the guard.

A Pipelines server reports neither of them in its own API.
"""

from collections.abc import Iterator

from guard_server import __version__
from guard_server.doctor.examination import Level
from guard_server.doctor.protection.protection_report import SettingFinding
from guard_server.open_webui.chat_replies import plugin_version

_UPGRADE = "Run: qwen3guard install --upgrade"


def answer_findings(answers: set[str]) -> Iterator[SettingFinding]:
    """A finding for each different answer.

    Args:
        answers: what the plugins said; an empty one is of a plugin that refused the prompt and told nothing.
    """
    for said in sorted(answers):
        version = plugin_version(said)
        if version is None:
            found = "a plugin told the admin nothing about itself"
            remedy = f"It is older than this check, or Open WebUI does not tell it who asks: see above. {_UPGRADE}"
            yield SettingFinding(setting="judged by", level=Level.WARNING, found=found, remedy=remedy)
        elif version != __version__:
            found = f"{said} This check is {__version__}."
            yield SettingFinding(setting="judged by", level=Level.WARNING, found=found, remedy=_UPGRADE)
        else:
            yield SettingFinding(setting="judged by", level=Level.OK, found=said)
