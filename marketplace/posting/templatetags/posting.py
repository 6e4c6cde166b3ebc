"""Words for documents in pages."""

from django import template

from marketplace.posting.conflicts import fingerprint_of
from marketplace.posting.pairs import FIELD_WORDS, one_line
from marketplace.posting.words import document_words, winner_words

register = template.Library()
register.filter(document_words)
register.filter(winner_words)
register.filter(one_line)
register.filter(fingerprint_of)


@register.filter
def field_words(name: str) -> str:
    return FIELD_WORDS[name]
