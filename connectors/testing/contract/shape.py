"""What a connector's folder has to hold."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import httpx
import msgspec
import pytest

from connectors.sdk.client import parse_json
from connectors.sdk.egress import Egress
from connectors.sdk.errors import UnexpectedResponse
from connectors.sdk.records import RECORD_TYPES, Record
from connectors.sdk.streams import WritableStream
from connectors.testing.contract.setup import Setup

README_SECTIONS = ("What it reads", "What it writes", "Limits", "How to remove")
SCRIPTING = re.compile(r"<script|\son\w+\s*=|javascript:|<foreignObject|<image|<use|@import|url\(|<!ENTITY", re.I)
REMOTE = re.compile(r"""(?:href|src)\s*=\s*["'](?!#)""", re.I)


class ShapeRules(Setup):
    def test_the_manifest_matches_the_streams(self) -> None:
        parts = self.parts()
        types = [stream.data_type for stream in parts.streams]
        written = [stream.data_type for stream in parts.streams if isinstance(stream, WritableStream)]
        assert len(types) == len(set(types))
        assert set(parts.manifest.reads) == set(types)
        assert set(parts.manifest.writes) == set(written)
        assert set(types) <= set(RECORD_TYPES)
        assert all(stream.record is RECORD_TYPES[stream.data_type] for stream in parts.streams)
        assert all(stream.carried_by in {"", *types} for stream in parts.streams)

    def test_the_manifest_is_complete(self) -> None:
        manifest = self.parts().manifest
        assert manifest.slug == self.slug
        assert manifest.name and manifest.summary and manifest.api_version
        assert manifest.limits, "every provider has limits"
        assert manifest.removal, "say what becomes of the documents when the connector is removed"
        assert re.fullmatch(r"#[0-9a-fA-F]{6}", manifest.brand_colour)
        assert all(setting.label for setting in manifest.settings)
        assert all(setting.example for setting in manifest.settings), "every setting shows an example"
        if manifest.writes:
            assert manifest.idempotency is not None, "say how a repeated write is recognised"

    def test_every_host_is_known_in_every_environment(self) -> None:
        manifest = self.parts().manifest
        environments = {name: set(urls) for name, urls in manifest.hosts.items()}
        assert environments and len({frozenset(names) for names in environments.values()}) == 1
        assert all(url.startswith("https://") for urls in manifest.hosts.values() for url in urls.values())
        endpoints = [manifest.auth.authorize, manifest.auth.token, manifest.auth.revoke]
        assert all(found[0] in manifest.hosts for found in endpoints if found)

    def test_every_call_goes_to_a_declared_origin(self) -> None:
        manifest = self.parts().manifest
        examples = [setting.example for setting in manifest.settings] or ["1234"]
        egress = Egress(manifest)
        for host, environment in [(host, name) for host, urls in manifest.hosts.items() for name in urls]:
            egress.check(httpx.URL(manifest.base_url(host, environment, organisation=examples[0])))
        with pytest.raises(UnexpectedResponse):
            egress.check(httpx.URL("https://elsewhere.example/"))

    def test_every_scope_is_explained(self) -> None:
        manifest = self.parts().manifest
        assert manifest.auth.scopes
        for scope in manifest.auth.scopes:
            assert len(scope.words.split()) >= 3, f"{scope.name}: say in words what it lets us do"
            assert len(scope.why.split()) >= 3, f"{scope.name}: say why we ask for it"
        if manifest.writes:
            assert any(scope.writes for scope in manifest.auth.scopes)

    def test_the_readme_has_its_sections(self) -> None:
        text = (self.parts().folder / "README.md").read_text(encoding="utf-8")
        headings = [line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#")]
        assert [section for section in README_SECTIONS if section not in headings] == []
        bodies = re.split(r"^#+ .*$", text, flags=re.M)[1:]
        assert all(body.strip() for body in bodies[1:]), "no section is empty"

    def test_the_logo_is_a_drawing_without_script(self) -> None:
        logo = (self.parts().folder / "logo.svg").read_text(encoding="utf-8")
        assert logo.lstrip().startswith("<svg")
        assert "viewBox" in logo
        assert SCRIPTING.search(logo) is None
        assert REMOTE.search(logo) is None

    def test_every_stream_has_a_fixture_that_parses(self) -> None:
        files = sorted((self.parts().folder / "fixtures").glob("*.json"))
        for stream in self.parts().streams:
            prefix = self.fixture_prefixes.get(stream.data_type, stream.data_type)
            assert any(file.stem.startswith(prefix) for file in files), f"no fixture {prefix}*.json"
        assert all(_parses(file) for file in files)

    def test_fields_name_parts_of_the_record(self) -> None:
        for stream in self.parts().streams:
            assert stream.label
            paths = [field.path for field in stream.fields]
            assert paths and len(paths) == len(set(paths)), f"{stream.data_type}: fields are told once each"
            unknown = [path for path in paths if not leads_somewhere(stream.record, path)]
            assert unknown == [], f"{stream.data_type}: no such field"
            assert all(field.label for field in stream.fields)


def leads_somewhere(record: type[Record], path: str) -> bool:
    """Whether a dotted path is a field of the record; through a tuple it means each element's."""
    found: object = record
    for part in path.split("."):
        if part == "custom":
            return True
        found = _inside(found)
        if not (isinstance(found, type) and issubclass(found, msgspec.Struct)):
            return False
        types = {field.name: field.type for field in msgspec.structs.fields(found)}
        if part not in types:
            return isinstance(getattr(found, part, None), property)
        found = types[part]
    return True


def _inside(annotation: object) -> object:
    """The element type of `tuple[X, ...]`, the X of `X | None`, else the annotation itself."""
    arguments = [found for found in typing.get_args(annotation) if found not in (Ellipsis, type(None))]
    return arguments[0] if arguments else annotation


def _parses(file: Path) -> bool:
    return parse_json(file.read_bytes()) is not None
