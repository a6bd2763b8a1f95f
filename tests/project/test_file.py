"""gitmachine.toml and devcontainer.json: what is read of them, and how an error is told."""

from __future__ import annotations

import pytest

from gitmachine.errors import ConfigurationError
from gitmachine.project import devcontainer, file

FULL = """\
# What the tests need.
image = "debian:12"
setup = [
  "make deps",
  "make",
]
network = ["pypi.org", "*.example.org"]
env = ["CI"]

[limits]
memory = "1.5 GiB"
disk = 1000000
cpus = 2
processes = 100
open_files = 1024
lifetime = "2h"
"""


def test_everything_that_can_be_asked_for_is_read() -> None:
    asked = file.parse(FULL.encode())
    assert (asked.image, asked.setup, asked.network) == (
        "debian:12",
        ["make deps", "make"],
        ["pypi.org", "*.example.org"],
    )
    assert asked.env == ["CI"]
    limits = asked.limits
    assert (limits.memory, limits.disk, limits.cpus) == (1536 * 1024**2, 1_000_000, 2)
    assert (limits.processes, limits.open_files, limits.lifetime) == (100, 1024, 7200)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('image = "debian:12"', "image = 3", "line 2, image", "string"),
        ('image = "debian:12"', 'imagee = "x"', "line 2, imagee", "image, setup, network, env, limits"),
        ('  "make",', "  7,", "line 3, setup", "string"),
        ('"pypi.org"', '"https://pypi.org/"', "line 7, network", "give a host"),
        ('"pypi.org"', '"169.254.169.254"', "line 7, network", "metadata"),
        ('["CI"]', '["CI=1"]', "line 8, env", "values are not given here"),
        ("cpus = 2", "cpus = 0", "line 13, limits.cpus", "greater than 0"),
        ("cpus = 2", 'cpus = "2"', "line 13, limits.cpus", "number"),
        ('"1.5 GiB"', '"lots"', "line 11, limits.memory", "512 MiB"),
        ('"2h"', '"soon"', "line 16, limits.lifetime", "90s"),
        ("processes = 100", "threads = 100", "line 14, limits.threads", "memory, disk, cpus"),
        ("[limits]", "[[limits]]", "line 10, limits", "instance"),
    ],
)
def test_an_error_names_the_line_and_the_key(old: str, new: str, line: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        file.parse(FULL.replace(old, new).encode())
    assert f"gitmachine.toml, {line}: " in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"image = \n", "line 1"),
        (b'a = """\n\n', "at end of document"),
        (b"image = 'x'\nimage = 'y'\n", "line 2"),
        (b"\n\n\xff", "line 3"),
        (b"x" * 20_000, "16384 bytes"),
        (b"#\n" * 600, "500 lines"),
    ],
)
def test_what_is_no_toml_is_refused_with_its_line(data: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        file.parse(data)


CONTAINER = """\
// A comment
{
  "image": "python:3.12", /* the // image */
  "name": "a \\"name\\" // no comment, }",
  "features": {},
  "postCreateCommand": "pip install -e .",
}
"""


def test_a_devcontainers_image_and_command_are_read_past_comments_and_trailing_commas() -> None:
    asked = devcontainer.parse(CONTAINER.encode(), "devcontainer.json")
    assert (asked.image, asked.setup) == ("python:3.12", ["pip install -e ."])


@pytest.mark.parametrize(
    ("command", "setup"),
    [
        ('["npm", "run", "a b"]', ["npm run 'a b'"]),
        ('{"a": "x", "b": ["y", "$z"]}', ["x", "y '$z'"]),
        ('""', []),
        ("null", []),
    ],
)
def test_the_forms_of_a_post_create_command(command: str, setup: list[str]) -> None:
    assert devcontainer.parse(f'{{"postCreateCommand": {command}}}'.encode(), "d").setup == setup


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{\n"image": x\n}', "d, line 2"),
        (b"[]", "no object"),
        (b'{"image": 3}', "d, image"),
        (b'{"postCreateCommand": 3}', "d, postCreateCommand"),
        (b"[" * 30_000, "d"),
        (b" " * 70_000, "65536 bytes"),
    ],
)
def test_a_broken_devcontainer_is_named(data: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        devcontainer.parse(data, "d")
