"""Fixtures for all tests."""

pytest_plugins = ["tests.lab.fixtures", "tests.lab.loops", "tests.lab.parallel"]
