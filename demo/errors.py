"""What can go wrong while the demo comes up. Every message names the cause and the remedy.

StackError
├── PortTaken      a port is in use before anything was started
├── NotBuilt       a file or an environment that `make` builds is missing
├── ChildFailed    a server ended by itself
├── NotReady       a server runs but does not answer in time
└── SetupFailed    Open WebUI refused a step of the set-up
"""


class StackError(Exception):
    """The stack cannot come up or cannot go on."""


class PortTaken(StackError):
    """A port is in use before anything was started."""


class NotBuilt(StackError):
    """A file or an environment that `make` builds is missing."""


class ChildFailed(StackError):
    """A server ended by itself."""


class NotReady(StackError):
    """A server runs but does not answer in time."""


class SetupFailed(StackError):
    """Open WebUI refused a step of the set-up."""
