"""The network of the lab has the names that it is given, and no way out."""

from pathlib import Path

from tests.lab import command
from tests.lab.internet import HOSTS, Internet
from tests.lab.machine import Machine
from tests.lab.programs import environment
from tests.lab.registry import Registry


def test_a_name_leads_to_a_server_of_the_network_and_no_way_out_of_it(tmp_path: Path) -> None:
    before = Path(HOSTS).read_text()
    (tmp_path / "registry").mkdir()
    with Internet.start(tmp_path, {"registry.example.org": "127.0.1.2"}) as internet:
        pair = internet.authority.issue("registry", "registry.example.org")
        tls = {"http": {"tls": {"certificate": str(pair.certificate), "key": str(pair.key)}}}
        url = "https://registry.example.org/v2/"
        with Registry.start(
            tmp_path / "registry",
            host="127.0.1.2",
            port=443,
            extra_config=tls,
            within=internet.argv(),
            ready=internet.answers(url),
        ):
            assert command.run(internet.argv("curl", "--silent", url), environment()) == "{}"
        interfaces = command.run(internet.argv("ip", "-brief", "link"), environment()).splitlines()
        assert [line.split()[0] for line in interfaces] == ["lo"]
        assert command.run(internet.argv("ip", "route"), environment()) == ""
        assert not internet.answers(url)()
    assert Path(HOSTS).read_text() == before


def test_a_machine_in_it_has_the_names_and_programs_but_not_what_runs_here(tmp_path: Path) -> None:
    with Internet.start(tmp_path, {"registry.example.org": "127.0.1.2"}) as internet:
        (tmp_path / "machine").mkdir()
        with Machine.enter(tmp_path / "machine", within=internet.argv()) as machine:
            assert machine.run("getent", "hosts", "registry.example.org").split() == [
                "127.0.1.2",
                "registry.example.org",
            ]
            assert machine.run("ls", "/run").split() == ["mount"]  # which mount itself made
            machine.run("sh", "-c", f"echo kept >{machine.lab}/said; echo lost >/run/said")
            assert len(machine.run("sh", "-c", "echo /proc/[0-9]*").split()) < 5
        assert (tmp_path / "machine" / "said").read_text() == "kept\n"
    assert not Path("/run/said").exists()
