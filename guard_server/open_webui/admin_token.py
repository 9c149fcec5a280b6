"""An admin's token: from a file, the environment or a prompt. Never from an argument, which other users can read."""

import getpass
import os
import sys
from pathlib import Path

from guard_server.errors import TokenMissing

VARIABLE = "OPEN_WEBUI_TOKEN"
_WHERE = (
    "An admin's API key (Settings > Account > API keys), or the session token of the page: the value of `token` in the "
    "browser's local storage."
)


def read_token(file: Path | None) -> str:
    """The token from the file, else from the environment, else from a prompt that does not echo it.

    Raises:
        TokenMissing
    """
    if file is not None:
        try:
            token = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TokenMissing(f"The token's file cannot be read: {error}", "Check --token-file.") from None
    elif os.environ.get(VARIABLE):
        token = os.environ[VARIABLE]
    elif sys.stdin.isatty():
        token = getpass.getpass("Token of an admin of Open WebUI (not shown): ")
    else:
        raise TokenMissing("No token was given.", f"Set {VARIABLE}, or give --token-file. {_WHERE}")
    token = token.strip()
    if not token:
        raise TokenMissing("The token is empty.", _WHERE)
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise TokenMissing("The token is not one word of plain letters, digits and signs.", _WHERE)
    return token
