"""What is below lists of tags: a registry that a test tells what to answer."""

from tests.lab.told_registry import registry, upstreams

__all__ = ["registry", "upstreams"]
