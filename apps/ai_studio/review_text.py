"""What of a review's text may be shown."""

from __future__ import annotations

import nh3

from realtime.errors import CommandFailed

MAX_REVIEW = 1_000  # characters, as they come
MAX_SANITISED = 4_000  # what is escaped gets longer
REVIEW_TAGS = {"b", "i", "em", "strong", "p", "br", "ul", "ol", "li"}


def sanitised(text: str) -> str:
    """The text as HTML that is safe to show: of its tags, `REVIEW_TAGS` are kept, and nothing that runs or leads away.
    Raises `CommandFailed` for a text that is too long."""
    if len(text) > MAX_REVIEW:
        raise CommandFailed("text", f"text has {len(text)} characters, it must have at most {MAX_REVIEW}")
    clean = nh3.clean(text.replace("\x00", ""), tags=REVIEW_TAGS, attributes={}, strip_comments=True, link_rel=None)
    if len(clean) > MAX_SANITISED:
        raise CommandFailed("text", f"text has {len(clean)} characters of HTML, it must have at most {MAX_SANITISED}")
    return clean
