"""The newest rows of each of many users, symbols, jobs: a query for a hundred of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, TypeVar

from django.db import connections
from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)

VALUES_PER_QUERY = 100  # SQLite joins at most 500 selects, and planning them takes PostgreSQL a while


def latest_of_each(rows: QuerySet[Row], field: str, values: Collection[Any], limit: int) -> Iterator[Row]:
    """Of each of these values of `field`, the first `limit` of `rows`; all of them in no particular order. With an
    index on the field and the order the database reads no more than it returns, unlike with a window function."""
    if not values:
        return
    connection = connections[rows.db]
    prepare = rows.model._meta.get_field(field).get_db_prep_value  # noqa: SLF001 - Django's documented name
    prepared = [prepare(value, connection) for value in values]
    # Compiled once: building a query costs more than running it. What is filtered last has the last parameter.
    sql, (*fixed, _) = rows.filter(**{field: next(iter(values))})[:limit].query.get_compiler(rows.db).as_sql()
    for start in range(0, len(prepared), VALUES_PER_QUERY):
        some = prepared[start : start + VALUES_PER_QUERY]
        union = " UNION ALL ".join([f"SELECT * FROM ({sql}) AS of_one"] * len(some))  # noqa: S608 - Django's own SQL
        parameters = [parameter for value in some for parameter in (*fixed, value)]
        yield from rows.model._default_manager.using(rows.db).raw(union, parameters)  # noqa: SLF001 - as above
