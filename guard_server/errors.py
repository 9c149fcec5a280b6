"""The errors of the commands: of serving and evaluating a guard, and of setting up Open WebUI.

GuardServerError            a cause in one sentence, and the remedy
├── UnknownModel            no model, hub id or folder of that name
├── UnreadableCheckpoint    a folder or download without config.json or chat template
├── HubUnreachable          the hub does not answer and nothing was downloaded before
├── UnsupportedFlag         a flag for vLLM that does not work with `serve`
├── VllmMissing             no vLLM in this Python
├── PluginsMissing          vLLM does not find this project's plugins
├── PortTaken               another program listens on the port
├── NotEnoughMemory         the weights and one conversation do not fit
├── VllmFailed              vLLM ended, or gives no verdicts
├── ExtraMissing            a package that only some commands need is not installed
├── UnreadableData          labelled data that is missing or not in the format
├── UnreadableResults       a file of results that is broken or in use
├── GuardGone               the guard to evaluate does not answer, or does not answer any more
├── NoGuard                 the server to evaluate answers, but never with a verdict of Qwen3Guard
└── WebuiError              of an Open WebUI and an account there
    ├── WebuiUnreachable    no reply
    ├── NotOpenWebui        another program answers
    ├── WebuiTooOld         a version without what is needed
    ├── TokenMissing        no token was given, or its file cannot be read
    ├── TokenRefused        a token that is wrong, has expired, or is not allowed here
    ├── NotAnAdmin          a token of an account that is not an admin
    ├── WebuiRefused        any other reply that is an error
    ├── PluginFileMissing   a file that is to be installed
    ├── RecordUnusable      the record of an installation is missing, broken, or of another Open WebUI
    └── CannotInstall       something is in the way, and nothing was changed for the worse
"""


class GuardServerError(Exception):
    """Shown to the user without a traceback; the process then ends with status 1."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy


class UnknownModel(GuardServerError): ...


class UnreadableCheckpoint(GuardServerError): ...


class HubUnreachable(GuardServerError): ...


class UnsupportedFlag(GuardServerError): ...


class VllmMissing(GuardServerError): ...


class PluginsMissing(GuardServerError): ...


class PortTaken(GuardServerError): ...


class NotEnoughMemory(GuardServerError): ...


class VllmFailed(GuardServerError): ...


class ExtraMissing(GuardServerError):
    def __init__(self, package: str | None, remedy: str) -> None:
        super().__init__(f"{package} is not installed in this Python.", remedy)


class UnreadableData(GuardServerError): ...


class UnreadableResults(GuardServerError): ...


class GuardGone(GuardServerError): ...


class NoGuard(GuardServerError): ...


class WebuiError(GuardServerError): ...


class WebuiUnreachable(WebuiError): ...


class NotOpenWebui(WebuiError): ...


class WebuiTooOld(WebuiError): ...


class TokenMissing(WebuiError): ...


class TokenRefused(WebuiError): ...


class NotAnAdmin(WebuiError): ...


class WebuiRefused(WebuiError):
    """`status` is that of the reply."""

    def __init__(self, cause: str, remedy: str, status: int) -> None:
        super().__init__(cause, remedy)
        self.status = status


class PluginFileMissing(WebuiError): ...


class RecordUnusable(WebuiError): ...


class CannotInstall(WebuiError): ...
