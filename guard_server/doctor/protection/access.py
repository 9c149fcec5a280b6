"""What an admin's grants say of models that the account of the check does not see, or should not see."""

from collections.abc import Collection, Iterator, Sequence

from guard_server.console_output import enumerated
from guard_server.doctor.examination import Level
from guard_server.doctor.protection.protection_report import SettingFinding
from guard_server.doctor.protection.valves import Plugin
from guard_server.open_webui.records import OURS
from guard_server.open_webui.survey import Survey

_SETTING = "access to models"


def access_findings(found: Survey, plugins: Sequence[Plugin], offered: Collection[str]) -> Iterator[SettingFinding]:
    """At most one of each kind.

    Args:
        offered: what the account can choose. A preset needs access to its base, so bases are enough here.
    """
    granted = {one.id for one in found.records if one.is_active and one.readers}
    direct = [one.id for one in found.chat_models if not one.plugin.startswith(OURS)]
    if some := [one for one in direct if one in granted and one not in offered]:
        if any(plugin.is_filter for plugin in plugins):
            yield SettingFinding(
                setting=_SETTING,
                level=Level.WARNING,
                found=f"only some users may use these, so they were not asked: {enumerated(some)}",
                remedy="Ask as one of these users too: --user-token-file.",
            )
        else:
            yield SettingFinding(
                setting=_SETTING,
                level=Level.FAILURE,
                found=f"some users may use these direct models, which nothing judges: {enumerated(some)}",
                remedy="Run: qwen3guard install, which gives those users guarded ones.",
            )
    if every := [one for one in direct if one in offered and one not in granted]:
        yield SettingFinding(
            setting=_SETTING,
            level=Level.WARNING,
            found=f"users may use models that were given to nobody: {enumerated(every)}",
            remedy="Start Open WebUI without BYPASS_MODEL_ACCESS_CONTROL: with it, no direct model can be closed.",
        )
