"""The participant that most tests of the page read."""

import pytest
from made_up import make_report


@pytest.fixture(scope="session")
def report():
    return make_report()
