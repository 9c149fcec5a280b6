"""`python -m guard_server`."""

from guard_server.cli import app

app(prog_name="python -m guard_server")
