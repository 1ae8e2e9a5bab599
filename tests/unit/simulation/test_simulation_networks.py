"""Networks: those that come with the package, and files of one's own with everything that can be wrong with them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from securealign.errors import ConfigurationError, ErrorCode, ExitCode
from securealign.harness.simulation.networks import Network, built_in_networks, find_network, find_networks

NAMES = ["loopback", "lan", "wan", "transatlantic", "mobile", "satellite"]
LINES = """
[office]
round_trip_ms = 2.5
up_mbit = 50
down_mbit = 250

[ship]
round_trip_ms = 700
jitter_ms = 30
up_mbit = 0.5
down_mbit = 2
loss = 0.02
source = "measured at sea"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "lines.toml"
    path.write_text(LINES, encoding="utf-8")
    return path


def refusal(names, find=find_networks):
    with pytest.raises(ConfigurationError) as caught:
        find(names)
    assert caught.value.code.exit_code in {ExitCode.USAGE, ExitCode.INPUT}
    assert caught.value.hint.endswith(".")
    return caught.value


def test_six_networks_come_with_the_package():
    assert list(built_in_networks()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_built_in_network_says_where_its_figures_come_from(name):
    network = built_in_networks()[name]
    assert network.name == name
    assert len(network.source) > 20
    assert find_networks(name) == [network]


def test_from_the_nearest_to_the_farthest_round_trips_grow_and_bandwidth_does_not():
    networks = [built_in_networks()[name] for name in ("loopback", "lan", "wan", "transatlantic", "satellite")]
    for near, far in pairwise(networks):
        assert near.round_trip_ms < far.round_trip_ms
        assert near.up_mbit >= far.up_mbit
        assert near.down_mbit >= far.down_mbit


def test_a_list_keeps_its_order():
    assert [network.name for network in find_networks("wan, lan,mobile")] == ["wan", "lan", "mobile"]


def test_empty_places_of_a_list_are_passed_over():
    assert [network.name for network in find_networks("wan,,lan,")] == ["wan", "lan"]


def test_a_file_stands_for_all_its_networks(file):
    office, ship = find_networks(str(file))
    assert office == Network(name="office", round_trip_ms=2.5, up_mbit=50, down_mbit=250)
    assert (office.jitter_ms, office.loss, office.source) == (0, 0, "")
    assert ship.model_dump() == {
        "name": "ship",
        "round_trip_ms": 700,
        "jitter_ms": 30,
        "up_mbit": 0.5,
        "down_mbit": 2,
        "loss": 0.02,
        "source": "measured at sea",
    }


def test_one_network_of_a_file_is_named_after_a_colon(file):
    assert [network.name for network in find_networks(f"{file}:ship")] == ["ship"]
    assert find_network(f"{file}:ship").name == "ship"


def test_files_and_names_can_be_mixed_and_count_once(file):
    found = find_networks(f"lan,{file}:office,satellite,{file},lan")
    assert [network.name for network in found] == ["lan", "office", "satellite", "ship"]


def test_a_path_may_hold_a_colon(tmp_path):
    path = tmp_path / "a:b.toml"
    path.write_text(LINES, encoding="utf-8")
    assert len(find_networks(str(path))) == 2
    assert find_network(f"{path}:ship").name == "ship"


def test_names_of_a_file_are_not_known_without_it(file):
    assert len(find_networks(str(file))) == 2
    assert "'office'" in refusal("office").message


def test_where_one_network_is_needed_several_are_refused(file):
    error = refusal(str(file), find_network)
    assert "names 2 networks" in error.message
    assert "FILE.toml:NAME" in error.hint
    assert "2" in refusal("lan,wan", find_network).message


@pytest.mark.parametrize("name", ["pigeon", "LAN", "lan wan", "lines.toml.old", "lines.toml.old:ship", "lan:ship"])
def test_an_unknown_name_is_refused_with_those_that_exist(name):
    error = refusal(name)
    assert repr(name) in error.message
    assert error.code is ErrorCode.CONFIGURATION_INVALID
    for known in NAMES:
        assert known in error.hint


@pytest.mark.parametrize("names", ["", " ", ",", " , "])
def test_no_name_at_all_is_refused(names):
    assert "loopback" in refusal(names).hint


def test_one_unknown_name_spoils_a_list():
    assert "'pigeon'" in refusal("lan,pigeon").message


def test_an_unknown_name_of_a_file_is_refused_with_those_of_the_file(file):
    error = refusal(f"{file}:lan")
    assert "'lan'" in error.message
    assert "office, ship" in error.hint


def test_a_file_that_is_missing_is_named(tmp_path):
    error = refusal(str(tmp_path / "none.toml"))
    assert "none.toml" in error.message
    assert "No such file" in error.message
    assert error.code is ErrorCode.FILE_INVALID


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    assert "folder.toml cannot be read" in refusal(str(tmp_path / "folder.toml")).message


def test_a_file_that_is_not_utf_8_is_named(file):
    file.write_bytes(b'[a]\nsource = "\xff\xfe"\n')
    error = refusal(str(file))
    assert "lines.toml" in error.message
    assert "not UTF-8" in error.message


def table(**changes):
    """Return the text of a network with some values replaced; None leaves a key out."""
    values = {"round_trip_ms": "1", "up_mbit": "10", "down_mbit": "10"} | changes
    return "[link]\n" + "".join(f"{key} = {value}\n" for key, value in values.items() if value is not None)


#: What is wrong: the text of the file, and what the error has to name.
BAD = {
    "not TOML": ("[link", "at end of document"),
    "a key given twice": (table() + "up_mbit = 3\n", "at line 5"),
    "no table": ("round_trip_ms = 3\n", "round_trip_ms is outside a table"),
    "a list of tables": ("[[link]]\nup_mbit = 3\n", "link is outside a table"),
    "empty": ("", "no network"),
    "a comment and nothing else": ("# nothing\n", "no network"),
    "a table without keys": ("[link]\n", "link.round_trip_ms"),
    "an unknown key": (table(bandwidth="3"), "link.bandwidth"),
    "a name of its own": (table(name='"other"'), "link.name"),
    "a table within": (table() + "[link.more]\nx = 1\n", "link.more"),
    "a missing round trip": (table(round_trip_ms=None), "link.round_trip_ms"),
    "a missing bandwidth": (table(up_mbit=None), "link.up_mbit"),
    "a text for a number": (table(down_mbit='"fast"'), "link.down_mbit"),
    "a round trip below zero": (table(round_trip_ms="-1"), "link.round_trip_ms"),
    "jitter below zero": (table(jitter_ms="-0.1"), "link.jitter_ms"),
    "no bandwidth": (table(up_mbit="0"), "link.up_mbit"),
    "a bandwidth below zero": (table(down_mbit="-5"), "link.down_mbit"),
    "a loss below zero": (table(loss="-0.1"), "link.loss"),
    "a round trip that is no number": (table(round_trip_ms="nan"), "link.round_trip_ms"),
    "a bandwidth that is no number": (table(up_mbit="nan"), "link.up_mbit"),
    "a loss that is no number": (table(loss="nan"), "link.loss"),
    "a bandwidth without end": (table(down_mbit="inf"), "link.down_mbit"),
    "a round trip of minutes": (table(round_trip_ms="60_001"), "link.round_trip_ms"),
    "jitter of minutes": (table(jitter_ms="10_001"), "link.jitter_ms"),
    "a bandwidth beyond a terabit": (table(up_mbit="1_000_001"), "link.up_mbit"),
    "a link that loses most": (table(loss="0.21"), "link.loss"),
    "a source that is a book": (table(source=f'"{"x" * 257}"'), "link.source"),
    "a name that is a book": (table().replace("link", "x" * 65), "name"),
    "an empty name": (table().replace("link", '""'), "name"),
}


@pytest.mark.parametrize(("text", "named"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_by_its_name_and_its_key(file, text, named):
    file.write_text(text, encoding="utf-8")
    error = refusal(str(file))
    assert error.code is ErrorCode.CONFIGURATION_INVALID
    assert "lines.toml does not describe networks" in error.message
    assert named in error.message
    assert "round_trip_ms, up_mbit and down_mbit" in error.hint


def test_the_same_file_without_the_fault_is_taken(file):
    file.write_text(table(loss="0.2", source=f'"{"x" * 256}"'), encoding="utf-8")
    assert find_network(str(file)).loss == 0.2


def test_one_bad_network_spoils_a_file(file):
    file.write_text(LINES + table(loss="2"), encoding="utf-8")
    assert "link.loss" in refusal(f"{file}:office").message


@settings(deadline=None)
@given(st.text())
def test_any_name_is_known_or_refused(name):
    try:
        found = find_networks(name)
    except ConfigurationError as error:
        assert error.hint  # noqa: PT017 - either is right
    else:
        assert {network.name for network in found} <= set(NAMES)


def test_a_network_does_not_change():
    with pytest.raises(ValidationError):
        built_in_networks()["lan"].loss = 0.1
