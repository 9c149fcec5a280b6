"""The product's short limits for what it can do without, lifted for tests: a busy machine is no missing route.

If a server does not answer within two seconds what the tokens of the labels are, or whether it has the lean route, the
guard goes on without them, for minutes. A test that counts requests or expects probabilities would then see others.
"""

from collections.abc import MutableMapping
from typing import Any

from moderation.endpoint import completion_schema, verdict_schema
from tests.stands.waiting import PATIENCE

_LIMITS = ("_OFFER_SECONDS", "_TOKENIZE_SECONDS")


def lift_limits(names: MutableMapping[str, Any]) -> None:
    """In a module, or in a built file, which has all modules in one."""
    names.update(dict.fromkeys(_LIMITS & names.keys(), PATIENCE))


def lift_limits_of_modules() -> None:
    for module in (completion_schema, verdict_schema):
        lift_limits(vars(module))
