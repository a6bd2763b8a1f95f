"""Access tokens that are known by their form: what the guard looks for beside keys and the session's own secrets.

The patterns of `LIBRARY` are those of detect-secrets (Yelp, Apache-2.0), which a test compares: of its detectors the
ones whose tokens have a prefix of their own. Words beside long numbers, entropy, JSON web tokens and addresses are left
out: a file that is withheld by mistake is work that a person misses in a commit. `OWN` are forms that it lacks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FEWEST_DIFFERENT = 8
"""`ghp_xxxxxxxx…` is no token; a random one of twenty characters has more different ones than that."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of token."""

    module: str
    """The detector in detect-secrets, or whose token it is."""
    signs: tuple[bytes, ...]
    """One of them is in every token: looking for these first is what makes the search cheap."""
    patterns: tuple[str, ...]


LIBRARY = (
    Rule("aws", (b"AKIA", b"ASIA", b"ABIA", b"ACCA", b"A3T"), (r"(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16}",)),
    Rule("azure_storage_key", (b"AccountKey=",), (r"AccountKey=[a-zA-Z0-9+\/=]{88}",)),
    Rule("github_token", (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"), (r"(ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9_]{36}",)),
    Rule(
        "gitlab_token",
        (b"glpat-", b"gldt-", b"glft-", b"glsoat-", b"glrt-", b"GR1348941", b"glcbt-", b"glptt-", b"gloas-"),
        (
            r"(glpat|gldt|glft|glsoat|glrt)-[A-Za-z0-9_\-]{20,50}(?!\w)",
            r"GR1348941[A-Za-z0-9_\-]{20,50}(?!\w)",
            r"glcbt-([0-9a-fA-F]{2}_)?[A-Za-z0-9_\-]{20,50}(?!\w)",
            r"glptt-[A-Za-z0-9_\-]{40}(?!\w)",
            r"gloas-[A-Za-z0-9_\-]{64}(?!\w)",
        ),
    ),
    Rule("npm", (b":_authToken=",), (r"\/\/.+\/:_authToken=\s*((npm_.+)|([A-Fa-f0-9-]{36})).*",)),
    Rule("openai", (b"T3BlbkFJ",), (r"sk-[A-Za-z0-9-_]*[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}",)),
    Rule("pypi_token", (b"pypi-AgEIcHlwaS5vcmc",), (r"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9-_]{70,}",)),
    Rule("sendgrid", (b"SG.",), (r"SG\.[a-zA-Z0-9_-]{22}\.[a-zA-Z0-9_-]{43}",)),
    Rule("slack", (b"xox",), (r"xox(?:a|b|p|o|s|r)-(?:\d+-)+[a-z0-9]+",)),
    Rule("square_oauth", (b"sq0csp-",), (r"sq0csp-[0-9A-Za-z\\\-_]{43}",)),
    Rule("stripe", (b"k_live_",), (r"(?:r|s)k_live_[0-9a-zA-Z]{24}",)),
)
OWN = (
    Rule("anthropic", (b"sk-ant-",), (r"sk-ant-[a-z0-9]{3,8}-[A-Za-z0-9_-]{80,120}",)),
    Rule("github_fine_grained", (b"github_pat_",), (r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",)),
    Rule("google_api", (b"AIza",), (r"AIza[A-Za-z0-9_-]{35}",)),
    Rule("npm_alone", (b"npm_",), (r"\bnpm_[A-Za-z0-9]{36}\b",)),
)

_COMPILED = tuple(
    (rule.signs, re.compile("|".join(f"(?:{pattern})" for pattern in rule.patterns).encode()))
    for rule in (*LIBRARY, *OWN)
)


class TokenRules:
    """Searches as a compiled pattern does."""

    def search(self, text: bytes) -> re.Match[bytes] | None:
        """A token, or None. Placeholders, and the example keys of AWS's documentation, are none."""
        for signs, pattern in _COMPILED:
            if any(sign in text for sign in signs):
                for match in pattern.finditer(text):
                    if not _is_placeholder(match[0]):
                        return match
        return None


def _is_placeholder(token: bytes) -> bool:
    return len(set(token[4:])) < _FEWEST_DIFFERENT or token.endswith(b"EXAMPLE")
