"""Bring images or partitions to an edge node before anyone asks for them.

The running node does it, with its own credentials for the registry (upstream.credentials); where it has none, with \
those of Docker's configuration here, which it forgets after the job. What is there already is not fetched again. A \
client that asks for a blob on its way gets it without the cap of --rate. Interrupting this command ends the job; what \
has come stays.

A file lists what a site needs. --prune-pins makes its list of pins the only one:

    rate = "10Mbit"
    window = "22:00-06:00"

    [[image]]
    reference = "library/model:v1--0.0.1.2"
    pin = true

Example:
    twodfs-proxy prefetch --edge /var/lib/twodfs library/model:v1--0.0.1.2 --pin
    twodfs-proxy prefetch --config /etc/twodfs-proxy.toml --file site.toml --prune-pins

Exit status:
    0    all of it is there
    1    some of it could not be had, or the node cannot be asked
    2    wrong command line, configuration or file
    130  it was interrupted
"""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from twodfs.cli.parser import CommandParser, file
from twodfs.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.prefetch.client import NodeClient
    from proxy.prefetch.order import Order


def declare(parser: CommandParser) -> None:
    """Declare the command's options; options before its name count as well."""
    from proxy.cache.options import add_directory_options

    text = (
        "An image or a partition, as it is pulled: REPOSITORY:TAG or REPOSITORY:TAG--PARTITION; of a registry beside "
        "the default one NAME@REPOSITORY:TAG."
    )
    parser.add_argument("references", metavar="REF...", nargs="*", default=None, help=text)
    parser.add_argument("--file", "-f", **file(), help="A TOML file that lists what a site needs.")
    parser.add_argument("--rate", metavar="RATE", help="What it may take from the line, as 10Mbit or 1.25MB a second.")
    parser.add_argument("--window", metavar="FROM-TO", help="When it works, in the node's time, as 22:00-06:00.")
    parser.add_argument(
        "--platform", action="append", metavar="TEXT", help="Of an index, this one: linux/arm64. Again for more."
    )
    parser.add_flag("--pin", text="Let the images stay, whatever else is pulled.")
    parser.add_flag("--prune-pins", text="End all pins that --file does not list, once all is there.")
    parser.add_flag("--detach", text="Return at once; the node goes on.")
    parser.add_flag("--list", text="List the node's jobs.")
    parser.add_argument(
        "--node", metavar="URL", help="The node's admin listener. [default: as the node's configuration says]"
    )
    parser.add_argument("--token-file", **file(), help="The node's admin token. [default: from its edge directory]")
    add_directory_options(parser)
    parser.add_flag("--json", text="Print each thing that happens as a line of JSON, for programs.")
    parser.add_flag("--quiet", "-q", text="Say nothing but failures.")


def run(arguments: Namespace) -> int:
    """Give the order and tell what happens; raises ``TwodfsError``."""
    from dataclasses import replace

    from proxy.repository import DEFAULT_UPSTREAM
    from twodfs.cli.console import print_json

    if not arguments.list:
        order = _order(arguments)
    node = _node(arguments)
    about = node.about()
    if arguments.list:
        print_json({"jobs": about["jobs"]})
        return 0
    upstreams = {one.name.upstream for one in order.images}
    found = {
        name: _credentials(node, str(one["registry"]))
        for name, one in {DEFAULT_UPSTREAM: about, **about.get("upstreams", {})}.items()
        if name in upstreams and one.get("wantsCredentials")
    }
    others = {name: one for name, one in found.items() if name != DEFAULT_UPSTREAM and one is not None}
    order = replace(order, credentials=found.get(DEFAULT_UPSTREAM), others=others)
    return _followed(node.order(order), arguments)


def _order(arguments: Namespace) -> Order:
    from dataclasses import replace

    from proxy.cache.images.reference import CachedName
    from proxy.prefetch.order import Order, Wanted
    from proxy.prefetch.site import read_site
    from proxy.prefetch.terms import TermsError, Window, parse_rate
    from twodfs.oci.platforms import parse_platforms

    if not arguments.references and not arguments.file:
        raise UsageError("what is to be brought? name images, or a file with --file")
    if arguments.prune_pins and (arguments.references or not arguments.file):
        raise UsageError("--prune-pins goes with --file alone, which lists all pins of the node")
    order = read_site(arguments.file) if arguments.file else Order(())
    platforms = parse_platforms(tuple(arguments.platform or ()))
    wanted = {one.name: one for one in order.images}
    for text in arguments.references or ():
        name = CachedName.parse(text)
        wanted[name] = Wanted(name, arguments.pin, platforms)
    if arguments.pin:
        wanted = {name: replace(one, pin=True) for name, one in wanted.items()}
    try:
        rate = order.rate if arguments.rate is None else parse_rate(arguments.rate)
        window = order.window if arguments.window is None else Window.parse(arguments.window)
    except TermsError as error:
        raise UsageError(str(error)) from None
    return Order(tuple(wanted.values()), rate, window, prune_pins=arguments.prune_pins, detach=arguments.detach)


def _node(arguments: Namespace) -> NodeClient:
    from proxy.cache.opened import node_config
    from proxy.edge.disk.directory import EdgeDirectory, EdgeError
    from proxy.prefetch.client import NodeClient, NodeError
    from proxy.prefetch.service import admin_token

    config = node_config(arguments)
    if arguments.token_file is not None:
        config = config.model_copy(
            update={"edge": config.edge.model_copy(update={"admin_token_file": arguments.token_file})}
        )
    if config.edge.directory is None and config.edge.admin_token_file is None:
        raise UsageError(
            "which node? name its edge directory with --edge DIR or --config FILE, or --node and --token-file"
        )
    if arguments.node is None and config.admin is None:
        raise UsageError("the node has no admin listener (admin = none), which takes orders; --node names one")
    try:
        directory = config.edge.directory
        if config.edge.admin_token_file is None and directory is not None and not (directory / "admin-token").is_file():
            raise NodeError(f"{directory} has no admin-token: it is no edge directory, or no node has run there yet")
        token = admin_token(config.edge.admin_token_file, EdgeDirectory(directory.absolute()) if directory else None)
    except EdgeError as error:
        raise NodeError(str(error)) from None
    return NodeClient(arguments.node or f"http://{_reachable(config.admin)}", token)


def _reachable(admin: Any) -> str:
    """Return where a listener on any address of this machine is reached from here."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(admin.host, admin.host)  # noqa: S104 - read, not bound
    return f"[{host}]:{admin.port}" if ":" in host else f"{host}:{admin.port}"


def _credentials(node: NodeClient, registry: str) -> Any:
    """Return the user's credentials for the registry; None where there are none, or where they would be read."""
    from twodfs.credentials.lookup import find_credentials

    found = find_credentials(registry)
    if found is not None and not node.is_private:
        print(
            f"warning: your credentials for {registry} go to {node.url} in clear text; use https, or a tunnel",
            file=sys.stderr,
        )
    return found


def _followed(events: Iterable[dict[str, Any]], arguments: Namespace) -> int:
    from proxy.prefetch.telling import sentence
    from twodfs.cli.console import say

    last: dict[str, Any] = {}
    for event in events:
        last = event
        if arguments.json:
            import orjson

            say(orjson.dumps(event).decode())
            sys.stdout.flush()
            continue
        text = sentence(event)
        is_told = event["event"] == "failed" or not arguments.quiet
        if text and is_told:
            print(text, file=sys.stdout if event["event"] in ("done", "end", "detached") else sys.stderr, flush=True)
    return int(last.get("event") not in ("end", "detached") or bool(last.get("failed")))
