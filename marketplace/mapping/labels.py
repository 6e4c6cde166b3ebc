"""The providers' own words for both sides of a mapping."""

from __future__ import annotations

import re
from collections import Counter

from connectors.registry import UnknownConnector, connector
from connectors.sdk.records import RECORD_TYPES
from connectors.sdk.streams import Field
from marketplace.mapping.expressions import field_source
from marketplace.mapping.templates import TargetField, Template

#: Kinds that are more than one value and cannot stand in a single field.
WHOLE_KINDS = ("lines", "party")


def stream_fields(slug: str, data_type: str) -> tuple[Field, ...]:
    """The fields of one data type as the provider calls them; none for a data type the connector does not have."""
    try:
        return connector(slug).stream(data_type).fields
    except UnknownConnector:
        return ()


def source_fields(slug: str, data_type: str) -> list[Field]:
    """The fields a mapping may read from a record."""
    return [
        field
        for field in stream_fields(slug, data_type)
        if field.kind not in WHOLE_KINDS and _is_readable(data_type, field.path)
    ]


def _is_readable(data_type: str, path: str) -> bool:
    try:
        field_source(RECORD_TYPES[data_type], path)
    except ValueError:
        return False
    return True


def source_label(slug: str, data_type: str, path: str) -> str:
    """The provider's word for a field; the path itself where the provider shows none."""
    labels = {field.path: field.label for field in stream_fields(slug, data_type)}
    return labels.get(path, path)


def option_words(option: str) -> str:
    """A provider's code such as "gift_card" as people write it; what has words of its own stays as it is."""
    return option.replace("_", " ").capitalize() if _CODE.fullmatch(option) else option


_CODE = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)+|[a-z]+")


def target_labels(slug: str, chosen: Template) -> dict[str, str]:
    """Each target field in the target provider's words. Where several lead to the same place, ours tells them apart."""
    sharing = Counter(field.target for field in chosen.fields)
    return {field.name: _target_label(slug, field, sharing[field.target] > 1) for field in chosen.fields}


def _target_label(slug: str, field: TargetField, is_shared: bool) -> str:
    data_type, path = field.target
    theirs = {found.path: found.label for found in stream_fields(slug, data_type)}.get(path, "")
    if not theirs or theirs == field.label:
        return field.label
    return f"{theirs}: {field.label}" if is_shared else theirs
