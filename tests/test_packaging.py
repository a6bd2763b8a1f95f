"""What a user gets: the wheel, in an environment that has nothing else."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[1]
EXTRAS = {
    "click",
    "rich",
    "textual",
    "jinja2",
    "starlette",
    "uvicorn",
    "e2b",
    "aiodocker",
    "aiohttp",
    "mcp",
    "langchain_core",
    "langchain",
    "deepagents",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True, timeout=60)
    (path,) = target.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def requirements(wheel: Path) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        headers = HeaderParser().parsestr(archive.read(name).decode())
    return [Requirement(text) for text in headers.get_all("Requires-Dist", [])]


@pytest.fixture(scope="module")
def environment(wheel: Path, requirements: list[Requirement], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel and what it requires, taken from this environment: no network is needed."""
    path = tmp_path_factory.mktemp("environment") / "venv"
    uv = Path(sys.executable).with_name("uv")
    for command in (
        ["venv", "--quiet", "--python", sys.executable, str(path)],
        ["pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(path / "bin/python"), str(wheel)],
    ):
        subprocess.run([uv, "--no-config", "--no-cache", *command], check=True, capture_output=True, timeout=60)
    (site,) = path.glob("lib/python3*/site-packages")
    for name in set(_closure([need for need in requirements if _applies(need)])):
        _copy(metadata.distribution(name), site)
    return path


def _applies(need: Requirement, extra: str = "") -> bool:
    return need.marker is None or need.marker.evaluate({"extra": extra})


def _closure(needs: list[Requirement]) -> Iterator[str]:
    for need in needs:
        yield need.name
        further = [Requirement(text) for text in metadata.requires(need.name) or []]
        yield from _closure([requirement for requirement in further if _applies(requirement)])


def _copy(distribution: metadata.Distribution, site: Path) -> None:
    """As links, with what is compiled already: compiling all of LangChain again would take longer than the tests."""
    for file in distribution.files or []:
        if ".." in file.parts or file.suffix == ".pyc":
            continue
        source = Path(str(file.locate()))
        compiled = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
        for path in (source, compiled) if source.suffix == ".py" and compiled.exists() else (source,):
            target = site / file.parent / path.relative_to(source.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.symlink_to(path)


def _python(environment: Path, code: str) -> str:
    command = [str(environment / "bin/python"), "-I", "-W", "error", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_the_wheel_has_three_import_names(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name.partition("/")[0] for name in archive.namelist()}
    assert {n for n in names if not n.endswith(".dist-info")} == {
        "gitmachine",
        "gitmachine_mcp",
        "langchain_gitmachine",
    }


def test_the_wheel_has_what_is_not_imported_but_read(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    scripts = {f"gitmachine/git/scripts/{path.name}" for path in (PROJECT / "gitmachine/git/scripts").glob("*.sh")}
    page = {
        path.relative_to(PROJECT).as_posix()
        for folder in ("static", "templates")
        for path in (PROJECT / "gitmachine/ui" / folder).iterdir()
    }
    assert scripts
    assert page
    assert "gitmachine/watch/watch.tcss" in names
    assert names >= scripts | page | {
        "gitmachine/machines/local/agent.py",
        "gitmachine/machines/docker/relay.py",
        "gitmachine/py.typed",
    }


def test_the_wheel_has_no_tests_and_nothing_else_of_the_checkout(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert not [n for n in archive.namelist() if "/test_" in n or n.endswith(".pyc") or "/tests/" in n]


def test_only_two_libraries_come_along(requirements: list[Requirement]) -> None:
    assert {need.name for need in requirements if _applies(need)} == {"pydantic", "portalocker"}


def test_the_distribution_is_never_called_by_the_name_of_somebody_elses(requirements: list[Requirement]) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "gitmachine-sdk"
    assert not [need for need in requirements if need.name == "gitmachine"]
    for path in (*PROJECT.glob("*.md"), *(PROJECT / "gitmachine").rglob("*.py")):
        assert "pip install gitmachine\n" not in path.read_text() + "\n", path


def test_importing_it_imports_no_extra(environment: Path) -> None:
    loaded = set(_python(environment, "import gitmachine, sys; print(*sys.modules)").split())
    roots = {name.partition(".")[0] for name in loaded}
    assert not roots & (EXTRAS | {"portalocker"})


def test_what_the_command_can_do_is_said_without_loading_what_does_it() -> None:
    code = "import sys; from gitmachine.cli.app import cli; cli(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"pydantic", "asyncio", "rich"} & set(done.stdout.splitlines()[-1].split())


def test_every_public_name_is_there_without_extras(environment: Path) -> None:
    code = "import gitmachine, sys; [getattr(gitmachine, n) for n in gitmachine.__all__]; print(*sys.modules)"
    roots = {name.partition(".")[0] for name in _python(environment, code).split()}
    assert "pydantic" in roots
    assert not roots & (EXTRAS | {"portalocker"})


@pytest.mark.parametrize(
    ("words", "extra"),
    [(("gitmachine", "--help"), "cli"), (("gitmachine-mcp",), "mcp"), (("gitmachine-mcp", "--http"), "mcp")],
)
def test_a_command_without_its_extra_names_it(environment: Path, words: tuple[str, ...], extra: str) -> None:
    command = [str(environment / "bin" / words[0]), *words[1:]]
    answer = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert answer.returncode == 78
    assert f"gitmachine-sdk[{extra}]" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""


def test_a_server_for_a_host_of_ones_own_names_its_extra_too(environment: Path) -> None:
    said = _python(
        environment,
        "import gitmachine_mcp; gitmachine_mcp.Options\n"
        "try:\n    gitmachine_mcp.build_server\nexcept ImportError as error:\n    print(type(error).__name__, error)",
    )
    assert said.startswith("MissingExtra")
    assert "gitmachine-sdk[mcp]" in said


@pytest.mark.parametrize(
    ("module", "call", "extra"), [("watch", "watch(())", "watch"), ("ui", "serve(0, print)", "ui")]
)
def test_a_view_without_its_extra_names_it(environment: Path, module: str, call: str, extra: str) -> None:
    said = _python(
        environment,
        f"import asyncio\nfrom gitmachine import errors, {module}\n"
        f"try:\n    asyncio.run({module}.{call})\nexcept errors.MissingExtra as error:\n    print(error)",
    )
    assert f"gitmachine-sdk[{extra}]" in said
