"""Runs every test that asks for `stub` over each server's stand-in."""

import pytest

from tests.stands.guards.other_servers import STAND_INS, StandIn


@pytest.fixture(params=STAND_INS, ids=[stand_in.__name__ for stand_in in STAND_INS])
def stub(request: pytest.FixtureRequest) -> StandIn:
    stand_in: StandIn = request.param()
    return stand_in
