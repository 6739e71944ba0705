import textwrap

import pytest

from tests.lab.private_names import classes, used


def found(source: str) -> list[str]:
    texts = {
        "proxy.base": "class Base:\n    def _mine(self): ...\n    def __init__(self): self._kept = 1\n",
        "proxy.it": textwrap.dedent(source),
    }
    return [use.text for use in used("proxy.it", texts["proxy.it"], classes(texts))]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(x): return x._y", ["x._y"]),
        ("def f(x): return x.y._z.w", ["x.y._z"]),
        ("def f(x): x._y = 1", ["x._y"]),
        ("def f(x): return x.__y", ["x.__y"]),
        ("import proxy.base\nproxy.base._name()", ["proxy.base._name"]),
        ("from proxy.base import Base\ndef f(): return Base()._kept", ["Base()._kept"]),
        ("class A:\n  def f(self): return self._nowhere", ["self._nowhere"]),
        ("class A:\n  _x = 1\nclass B:\n  def f(self, a): return a._x", ["a._x"]),
        ("class A:\n  _x = 1\n  def f(self, other): return other._x", ["other._x"]),
        ("class A:\n  _x = 1\n  def f(self): return self.b._x", ["self.b._x"]),
        ("from aiohttp import web\nclass A(web.StreamResponse):\n  def f(self): return self._req", ["self._req"]),
        (
            "from aiohttp import web\nclass A(web.StreamResponse):\n  async def _start(self, r): ...",
            ["A overrides _start"],
        ),
        (
            "from aiohttp import web\nclass A(web.StreamResponse):\n  def __init__(self): self._req = None",
            ["A overrides _req", "self._req"],
        ),
        ("import threading\nclass A(threading.Thread):\n  def f(self): return super()._started", ["super()._started"]),
        ("def f(x): return getattr(x, '_y', None)", ["getattr(x, '_y', None)"]),
        ("def f(x): return hasattr(x, '_y')", ["hasattr(x, '_y')"]),
        ("from proxy.base import _name", ["from proxy.base import _name"]),
        ("import redis._parsers", ["import redis._parsers"]),
        ("from redis._parsers import resp3", ["from redis._parsers import resp3"]),
        ("from asyncio.sslproto import SSLProtocol", ["from asyncio.sslproto import SSLProtocol"]),
        ("from asyncio import sslproto", ["from asyncio import sslproto"]),
        ("import aiohttp.http_parser", ["import aiohttp.http_parser"]),
        ("from aiohttp import web_protocol", ["from aiohttp import web_protocol"]),
        ("from aiohttp.client_proto import ResponseHandler", ["from aiohttp.client_proto import ResponseHandler"]),
    ],
)
def test_private_names_of_others_are_found(source: str, names: list[str]) -> None:
    assert found(source) == names


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n  def __init__(self): self._x = 1\n  def f(self): return self._x",
        "class A:\n  __slots__ = ('_x',)\n  def f(self): return self._x",
        "class A:\n  _x: int\n  def f(self, other: 'A'): return other._x",
        "class A:\n  def _f(self): ...\n  @classmethod\n  def g(cls):\n    a = cls()\n    return a._f()",
        "class A:\n  _x = 1\n  def f(self): return A._x",
        "class A:\n  def f(self):\n    def g(): return self._x\n    return g\n  _x = 1",
        "from proxy.base import Base\nclass A(Base):\n  def f(self): return self._kept, self._mine()",
        "from aiohttp import web\nclass A(web.StreamResponse):\n  _own = 1\n  def f(self): return self._own",
        "def f(x): return x.__class__, x._replace(y=1)._asdict()",
        "import asyncio, aiohttp\nfrom aiohttp import abc, hdrs, web\nfrom aiohttp.abc import AbstractStreamWriter",
        "from __future__ import annotations\nfrom asyncio import Event, timeout",
    ],
)
def test_own_private_names_and_what_is_documented_are_not(source: str) -> None:
    assert found(source) == []
