"""Words for documents in pages."""

from django import template

from marketplace.posting.words import document_words

register = template.Library()
register.filter(document_words)
