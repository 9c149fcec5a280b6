"""Errors of the demo. Each message names the cause and the remedy.

StackError         the stack cannot start, or cannot go on
├── DemoPortTaken  another program uses a port that the demo needs
├── NotBuilt       a file or an environment that `make` builds is missing
├── ChildFailed    a server ended by itself
├── NotReady       a server runs but does not answer in time
└── SetupFailed    Open WebUI refused a step of the setup
"""


class StackError(Exception):
    """The stack cannot start, or cannot go on."""


class DemoPortTaken(StackError):
    """Another program uses a port that the demo needs."""


class NotBuilt(StackError):
    """A file or an environment that `make` builds is missing."""


class ChildFailed(StackError):
    """A server ended by itself."""


class NotReady(StackError):
    """A server runs but does not answer in time."""


class SetupFailed(StackError):
    """Open WebUI refused a step of the setup."""
