"""News in the database: what the sentiment engine reads after a restart, and what was posted while it ran elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from apps.trading import models
from engines.trading.sentiment.headlines import Headline, new_headline

KEPT_FOR = timedelta(days=3)
MAX_AHEAD = timedelta(minutes=5)  # of our clock: a source's may be a little wrong


def take(items: Iterable[Mapping[str, Any]]) -> int:
    """Keep what is new; how much that was. Raises `ValueError` for a time in the future or a title
    without a word, and then keeps nothing."""
    now = timezone.now()
    return store([_headline(item, now) for item in items])


def store(found: Sequence[Headline]) -> int:
    """Keep the headlines that are not known. How many those were."""
    now = timezone.now()
    fresh = {headline.headline_id: headline for headline in found if headline.published_at > now - KEPT_FOR}
    known = set(models.Headline.objects.filter(pk__in=fresh).values_list("pk", flat=True))
    rows = [
        models.Headline(
            id=headline.headline_id,
            title=headline.title,
            source=headline.source,
            url=headline.url,
            symbols=list(headline.symbols),
            published_at=headline.published_at,
            created_at=now,
        )
        for headline in fresh.values()
        if headline.headline_id not in known
    ]
    models.Headline.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)


def since(moment: datetime | None) -> list[tuple[datetime, Headline]]:
    """What came in after the moment, each with when it did; all that is kept without one."""
    rows = models.Headline.objects.order_by("created_at")
    if moment is not None:
        rows = rows.filter(created_at__gt=moment)
    return [
        (
            row.created_at,
            Headline(
                headline_id=row.pk,
                title=row.title,
                source=row.source,
                url=row.url,
                published_at=row.published_at,
                symbols=tuple(row.symbols),
            ),
        )
        for row in rows
    ]


def prune(now: datetime) -> None:
    """Drop what is too old to count."""
    models.Headline.objects.filter(published_at__lt=now - KEPT_FOR).delete()


def _headline(item: Mapping[str, Any], now: datetime) -> Headline:
    published_at = item.get("published_at") or now
    if published_at.tzinfo is None:
        published_at = timezone.make_aware(published_at)
    if published_at > now + MAX_AHEAD:
        raise ValueError(f"published_at: got {published_at.isoformat()}, which is in the future")
    return new_headline(
        item["title"],
        source=item.get("source", ""),
        url=item.get("url", ""),
        published_at=published_at,
        symbols=item.get("symbols") or (),
    )
