"""Wiring only: the fixtures that tests may use."""

pytest_plugins = [
    "fixtures.lifeline",
    "fixtures.spread",
    "fixtures.reporting",
    "fixtures.bench",
    "fixtures.trial",
    "fixtures.updates",
    "fixtures.crash",
    "fixtures.field",
    "fixtures.dut",
]
