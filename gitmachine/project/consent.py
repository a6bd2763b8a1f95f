"""What the operator grants of what a repository asks for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gitmachine.errors import ConfigurationError
from gitmachine.network.policy import Rule, parse_rule
from gitmachine.project.words import WORDS
from gitmachine.types import Wishes

if TYPE_CHECKING:  # its models take most of the time of `gitmachine --help` to make
    from gitmachine.project.file import ProjectFile


@dataclass(frozen=True, slots=True)
class Consent:
    """The operator's word on what a repository may have. By default nothing but less than the machine has.

    A file in a repository can be changed by whoever writes to it: what is named here (`network`, `images`, `env`)
    stays what it is, while `any_network`, `any_image` and `setup` grant what the file says on that day.
    """

    setup: bool = False
    """Its setup commands are run, in the machine, with the machine's network and environment."""
    network: tuple[str, ...] = ()
    """Hosts that it may ask for, as in a machine's network list; `*.example.org` covers all below."""
    any_network: bool = False
    """Whatever hosts it asks for, if it asks by name: never an address, so never a private network."""
    images: tuple[str, ...] = ()
    """Patterns (fnmatch) of images that it may ask for."""
    limits: bool = False
    """More than the machine was made with."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that it may ask for by name, with their values."""
    read: bool = True
    """False: the file is not even looked at."""

    def __post_init__(self) -> None:
        """Raises ConfigurationError for a host that is none."""
        for entry in self.network:
            parse_rule(entry)

    @classmethod
    def of(cls, words: Iterable[str], environment: Mapping[str, str]) -> Consent:
        """From words such as `setup`, `network=pypi.org`, `env=CI` or `ignore`. Raises ConfigurationError."""
        given = {"setup": False, "limits": False, "network": False, "image": False, "ignore": False}
        network, images, env = [], [], {}
        for word in words:
            name, equals, value = word.partition("=")
            if word == "all":
                given |= dict.fromkeys(("setup", "limits", "network", "image"), True)
            elif not equals and name in given:
                given[name] = True
            elif value and name == "network":
                network.append(value)
            elif value and name == "image":
                images.append(value)
            elif value and name == "env":
                if value not in environment:
                    raise ConfigurationError(f"{value} is not set here, so it cannot be passed on: leave {word!r} out")
                env[value] = environment[value]
            else:
                raise ConfigurationError(f"{word!r} cannot be allowed: use {', '.join(WORDS)}")
        return cls(
            setup=given["setup"],
            network=tuple(network),
            any_network=given["network"],
            images=("*",) if given["image"] else tuple(images),
            limits=given["limits"],
            env=env,
            read=not given["ignore"],
        )


@dataclass(frozen=True, slots=True)
class Grant:
    """What a repository gets."""

    source: str
    """The file."""
    wishes: Wishes
    setup: tuple[str, ...] = ()
    granted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    """What it asked for and does not get, each with how to allow it."""


def decide(source: str, asked: ProjectFile, consent: Consent) -> Grant:
    """Divides what is asked into what is granted and what is not. Limits are the machine's to compare."""
    granted: list[str] = []
    refused: list[str] = []

    def ask(what: str, allowed: bool, how: str) -> bool:
        (granted if allowed else refused).append(what if allowed else f"{what} (to allow it: {how})")
        return allowed

    network = tuple(e for e in asked.network if ask(f"network {e}", _covers(consent, e), f"network={e}"))
    names = [name for name in asked.env if ask(f"env {name}", name in consent.env, f"env={name}")]
    image = asked.image
    if image is not None:
        matches = any(fnmatchcase(image, pattern) for pattern in consent.images)
        image = image if ask(f"image {image}", matches, f"image={image}") else None
    setup = tuple(asked.setup) if asked.setup and ask(_shown(asked.setup), consent.setup, "setup") else ()
    limits = asked.limits
    wishes = Wishes(
        image=image,
        network=network,
        env={name: consent.env[name] for name in names},
        memory_bytes=limits.memory,
        disk_bytes=limits.disk,
        cpus=limits.cpus,
        processes=limits.processes,
        open_files=limits.open_files,
        lifetime_s=limits.lifetime,
        may_raise=consent.limits,
    )
    return Grant(source, wishes, setup, tuple(granted), tuple(refused))


def _shown(setup: list[str]) -> str:
    first = setup[0].partition("\n")[0][:100]
    return f"setup: {first}" + (f" and {len(setup) - 1} more" if len(setup) > 1 else "")


def _covers(consent: Consent, entry: str) -> bool:
    asked = parse_rule(entry)
    if consent.any_network and asked.address is None:
        return True
    return any(_includes(parse_rule(allowed), asked) for allowed in consent.network)


def _includes(allowed: Rule, asked: Rule) -> bool:
    """Whether all that one entry lets through is let through by another."""
    if allowed.ports is not None and (asked.ports is None or not asked.ports <= allowed.ports):
        return False
    if asked.address is not None or allowed.address is not None:
        return asked.address == allowed.address
    if allowed.host == "*":
        return True
    if allowed.host.startswith("*."):
        return asked.host.removeprefix("*").endswith(allowed.host[1:])
    return asked.host == allowed.host
