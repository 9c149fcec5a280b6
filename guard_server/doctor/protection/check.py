"""The protection check: settings first, then every way to every model."""

from collections.abc import Callable

from guard_server.doctor.protection.access import access_findings
from guard_server.doctor.protection.account import ordinary_user
from guard_server.doctor.protection.notice_reader import NoticeReader
from guard_server.doctor.protection.paths import PathCheck, ProbedModel
from guard_server.doctor.protection.plugin_answers import answer_findings
from guard_server.doctor.protection.protection_report import ProtectionReport
from guard_server.doctor.protection.protection_settings import setting_findings
from guard_server.doctor.protection.valves import Plugin, our_plugins
from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.survey import Survey, survey

# Of the guarded models in a Pipelines server, and of those in Open WebUI.
_ENTRIES = ("~refusal", "check")


def check_protection(
    admin: WebuiClient, user_token: str | None = None, say: Callable[[str], None] = lambda line: None
) -> ProtectionReport:
    """Checks an Open WebUI.

    Args:
        admin: with an admin's token.
        user_token: of an ordinary user to ask as; by default one is made, and removed again.
        say: gets a line about the progress.

    Raises:
        WebuiError: the check is not possible.
    """
    admin.check_admin()
    say("Looking at the settings …")
    found = survey(admin)
    plugins = our_plugins(admin, found)
    direct = bool(admin.get("/api/v1/configs/connections").get("ENABLE_DIRECT_CONNECTIONS"))
    reader = NoticeReader([notice for plugin in plugins for notice in plugin.notices()])
    with ordinary_user(admin, user_token) as user:
        offered = [str(one["id"]) for one in user.get("/api/models")["data"]]
        models = _models(found, plugins, offered)
        paths = sum(len(model.routes) for model in models)
        say(f"Asking {len(models)} models in {paths} ways …")
        check = PathCheck(user, admin, reader, _counting(paths, say))
        findings = check.find(models)
    return ProtectionReport(
        url=admin.url,
        version=found.version,
        settings=(
            *setting_findings(found, plugins, direct=direct),
            *access_findings(found, plugins, offered),
            *answer_findings(check.plugin_answers),
        ),
        paths=findings,
    )


def _models(found: Survey, plugins: tuple[Plugin, ...], offered: list[str]) -> list[ProbedModel]:
    """What users can pick first, presets included; then the models that they are not to use."""
    owners = {model.id: model.owner for model in found.models}
    # They say notices only, or answer no direct request.
    internal = {"qwen3guard_refusal", *(f"{plugin.id}.{entry}" for plugin in plugins for entry in _ENTRIES)}
    others = [one.id for one in found.models if not one.is_filter and one.id not in offered]
    return [
        *(ProbedModel(name, owners.get(name, ""), True) for name in offered if name not in internal),
        *(ProbedModel(name, owners.get(name, ""), False) for name in others if name not in internal),
    ]


def _counting(total: int, say: Callable[[str], None]) -> Callable[[], None]:
    done = 0

    def tried() -> None:
        nonlocal done
        done += 1
        if done % 10 == 0 and done < total:
            say(f"  {done} of {total}")

    return tried
