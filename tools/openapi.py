"""Writes docs/reference/openapi.json: the routes that this project adds to a server, and the shapes of their bodies.

python -m tools.openapi [--check]
"""

import json
import sys
from typing import Any

from guard_server.api import moderation_routes, openapi_document, status
from guard_server.api.verdicts import JUDGE, OFFER
from guard_server.stream.stream_routes import DROP_STREAM, JUDGE_STREAM, STREAM_OFFER
from tools.generated import write_or_check

PATH = "docs/reference/openapi.json"
# By the servers that have them.
_ROUTES = {
    "`api`, and `serve` with a Qwen3Guard-Gen": moderation_routes.DESCRIBED,
    "`api`; `serve` has vLLM's own": status.DESCRIBED,
    "`serve` with a Qwen3Guard-Gen": (JUDGE, OFFER),
    "`serve` with a Qwen3Guard-Stream": (JUDGE_STREAM, STREAM_OFFER, DROP_STREAM),
}


def main() -> int:
    return write_or_check(PATH, json.dumps(document(), indent=1, ensure_ascii=False) + "\n")


def document() -> dict[str, Any]:
    return openapi_document.document(_ROUTES)


if __name__ == "__main__":
    sys.exit(main())
