"""Listings, derived from each connector's own folder: nothing about a connector is typed twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from connectors.registry import Connector, UnknownConnector, simulator
from connectors.sdk.manifest import Limit
from connectors.sdk.records import DATA_TYPE_NAMES

CATEGORY_NAMES = {"shop": "Shop", "payments": "Payments", "ledger": "Ledger", "crm": "Sales pipeline"}
README_SECTIONS = ("What it reads", "What it writes", "Limits", "How to remove")


def data_type_name(data_type: str) -> str:
    """The plural people read; of companies there is only the connected one."""
    return "company details" if data_type == "company" else DATA_TYPE_NAMES[data_type][1]


def in_words(names: list[str]) -> str:
    """A list as a sentence has it."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else "nothing"


def reads_in_words(found: Connector) -> str:
    return in_words([data_type_name(name) for name in found.manifest.reads])


def writes_in_words(found: Connector) -> str:
    return in_words([data_type_name(name) for name in found.manifest.writes])


def purpose_of(found: Connector) -> str:
    """What the consent is for, as the person reads it and as it is recorded."""
    name = found.manifest.name
    written = (
        f" It writes {writes_in_words(found)}, only in flows you have taken live or put in pilot."
        if found.manifest.writes
        else ""
    )
    return f"Tieout reads {reads_in_words(found)} from {name} to keep your books complete and to prove that they are.{written}"


def scopes_in_words(found: Connector) -> list[dict[str, str]]:
    """Every right with what it allows and why we ask for it."""
    return [{"name": scope.name, "words": scope.words, "why": scope.why} for scope in found.manifest.auth.scopes]


def limit_in_words(limit: Limit) -> str:
    units = {"call": "calls", "batch": "batch calls", "cost": "cost points"}[limit.counts]
    window = {0: "at the same time", 1: "a second", 60: "a minute", 3600: "an hour", 86400: "a day"}.get(
        limit.seconds, f"in {limit.seconds} seconds"
    )
    owner = "for each organisation" if limit.per == "connection" else "for all businesses together"
    return f"{limit.amount:,} {units} {window}, {owner}"


@dataclass(frozen=True)
class Rule:
    """One machine-checked quality rule of the catalogue."""

    name: str
    tier: str
    words: str
    holds: Callable[[Connector], bool]


@dataclass(frozen=True)
class RuleResult:
    rule: Rule
    is_met: bool
    exemption: str


def has_simulator(found: Connector) -> bool:
    try:
        simulator(found.slug)
    except UnknownConnector:
        return False
    return True


RULES = (
    Rule("scopes_explained", "Bronze", "Every right is explained", lambda c: all(s.words and s.why for s in c.manifest.auth.scopes)),
    Rule("readme", "Bronze", "Says what it reads and writes, its limits and how to remove it", lambda c: all(section in c.readme for section in README_SECTIONS)),
    Rule("contract", "Bronze", "Passes the connector contract", lambda c: (c.folder / "tests.py").exists()),
    Rule("fixtures", "Silver", "Every data type has a recorded example", lambda c: len(list((c.folder / "fixtures").glob("*.json"))) >= len(c.streams)),
    Rule("limits", "Silver", "Keeps within the provider's limits", lambda c: bool(c.manifest.limits)),
    Rule("revocation", "Silver", "Ends its authorisation when removed, or says why it cannot", lambda c: c.manifest.auth.revoke is not None or bool(c.manifest.removal)),
    Rule("simulator", "Gold", "Has a simulator of its provider", has_simulator),
    Rule("webhooks", "Gold", "Hears of changes within seconds", lambda c: c.webhooks is not None),
    Rule("idempotency", "Gold", "Writes are recognised when repeated", lambda c: not c.manifest.writes or c.manifest.idempotency is not None),
)  # fmt: skip
TIERS = ("Bronze", "Silver", "Gold")


@dataclass(frozen=True)
class Card:
    """A connector as its tile shows it."""

    found: Connector
    category: str
    tier: str
    reads: str
    writes: str


def cards_of(found: list[Connector]) -> list[Card]:
    return [
        Card(one, CATEGORY_NAMES[one.manifest.category], tier_of(one), reads_in_words(one), writes_in_words(one))
        for one in found
    ]


def rules_by_tier(found: Connector) -> list[tuple[str, list[dict[str, object]]]]:
    """Every rule of each tier, as a checklist shows it; an exemption counts as met and says why."""
    results = rule_results(found)
    return [
        (
            tier,
            [
                {
                    "is_met": result.is_met or bool(result.exemption),
                    "text": result.rule.words,
                    "hint": f"Exempt: {result.exemption}" if result.exemption and not result.is_met else "",
                }
                for result in results
                if result.rule.tier == tier
            ],
        )
        for tier in TIERS
    ]


def rule_results(found: Connector) -> list[RuleResult]:
    """Every rule, met or not, with the manifest's written exemption if there is one."""
    return [RuleResult(rule, rule.holds(found), found.manifest.exemptions.get(rule.name, "")) for rule in RULES]


def tier_of(found: Connector) -> str:
    """The highest tier of which all rules, and all below, are met or exempted; empty below Bronze."""
    results, reached = rule_results(found), ""
    for tier in TIERS:
        if not all(result.is_met or result.exemption for result in results if result.rule.tier == tier):
            return reached
        reached = tier
    return reached


def matching(found: list[Connector], *, text: str = "", category: str = "", data_type: str = "") -> list[Connector]:
    """The connectors that fit a search and its filters."""
    words = text.lower().split()

    def fits(one: Connector) -> bool:
        manifest = one.manifest
        body = f"{manifest.name} {manifest.summary} {reads_in_words(one)} {writes_in_words(one)}".lower()
        return (
            all(word in body for word in words)
            and category in ("", manifest.category)
            and (not data_type or data_type in (*manifest.reads, *manifest.writes))
        )

    return [one for one in found if fits(one)]
