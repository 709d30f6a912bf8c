"""A database's structure as text, read from PostgreSQL's own catalogue: equal texts are equal structures."""

import re
from collections.abc import Sequence

from pyat.foundation.db import Database
from pyat.foundation.sql import Statement

_SCHEMAS = """
SELECT format('SCHEMA %I', nspname) || coalesce(' -- ' || obj_description(oid, 'pg_namespace'), '') AS line
FROM pg_namespace WHERE nspname = ANY($1)
"""
_RELATIONS = """
SELECT format(
    '%s %I.%I%s%s%s',
    CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
        WHEN 'p' THEN 'PARTITIONED TABLE' ELSE c.relkind::text END,
    n.nspname, c.relname,
    CASE WHEN c.relpersistence = 'p' THEN '' ELSE ' PERSISTENCE ' || c.relpersistence::text END,
    CASE WHEN c.relrowsecurity THEN ' ROW SECURITY' || CASE WHEN c.relforcerowsecurity THEN ' FORCED' ELSE '' END ELSE '' END,
    ' WITH ' || array_to_string(c.reloptions, ', ')
) || coalesce(E'\\n' || nullif(pg_get_viewdef(c.oid), ''), '') AS line
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY($1) AND c.relkind <> 'i'
"""
_COLUMNS = """
SELECT format(
    'COLUMN %I.%I %s %I %s%s%s%s%s',
    n.nspname, c.relname, lpad(a.attnum::text, 2, '0'), a.attname, format_type(a.atttypid, a.atttypmod),
    CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE ' || l.collname ELSE '' END,
    CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END,
    CASE a.attidentity WHEN 'a' THEN ' IDENTITY ALWAYS' WHEN 'd' THEN ' IDENTITY BY DEFAULT' ELSE '' END,
    CASE WHEN a.attgenerated <> '' THEN ' GENERATED' ELSE '' END || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
) AS line
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE n.nspname = ANY($1) AND a.attnum > 0 AND NOT a.attisdropped
"""
# What is not null stands with the columns already, and only newer servers know it as a constraint.
_CONSTRAINTS = """
SELECT format('CONSTRAINT %I.%I %I %s', n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid)) AS line
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY($1) AND k.contype <> 'n'
"""
_INDEXES = """
SELECT pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END AS line
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY($1)
"""
_ROUTINES = """
SELECT format('%s', pg_get_functiondef(p.oid)) AS line
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = ANY($1)
UNION ALL
SELECT pg_get_triggerdef(t.oid)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY($1) AND NOT t.tgisinternal
UNION ALL
SELECT format('POLICY %I.%I %I %s %s %s %s', schemaname, tablename, policyname, roles, cmd, qual, with_check)
FROM pg_policies WHERE schemaname = ANY($1)
UNION ALL
SELECT format('TYPE %I.%I %s', n.nspname, t.typname, t.typtype)
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname = ANY($1) AND t.typtype IN ('d', 'e')
"""
_MONTH = re.compile(r"(?<=base_changes)_[0-9]{6}\b|(?<=base_changes)_[0-9]{6}(?=_)")
_PARTS = (_SCHEMAS, _RELATIONS, _COLUMNS, _CONSTRAINTS, _INDEXES, _ROUTINES)
_OWN_SCHEMAS = Statement(
    "own_schemas",
    "SELECT nspname::text FROM pg_namespace"
    # `pyat_formula` is no service's: each version of the code puts its functions there.
    " WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public', 'pyat_formula') ORDER BY 1",
)


async def structure(database: Database, schemas: Sequence[str] | None = None) -> str:
    """One line for each thing in these schemas (all but PostgreSQL's own unless given), in an order that means nothing."""
    async with database.connection() as connection:
        if schemas is None:
            schemas = [row["nspname"] for row in await connection.rows(_OWN_SCHEMAS)]
        lines: list[str] = []
        for part in _PARTS:
            rows = await connection.rows(Statement("structure", part), list(schemas))
            lines += sorted(row["line"] for row in rows)
    # Partitions of the change log are named by their months.
    return _MONTH.sub("_month", "".join(f"{line}\n" for line in lines))
