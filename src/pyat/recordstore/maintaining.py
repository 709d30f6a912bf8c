"""Computed cells that are kept: columns that triggers hold right in the transaction of every write, whoever writes.

A formula's column is set by its record's own write, before the row is stored. What depends on other records (rollups,
lookups, formulas over links) is set when those records or the links change: by one statement for all records that show
them, which then fires the same triggers there, along the fields' dependencies, until nothing changes any more. The
records are locked before their new values are read, so that two writers never each miss what the other one changed.

A change that reaches more than `AFFECTED_MAX` records of a table is noted and left to whoever fills columns: from that
commit on the cells are computed when they are read, until the columns are right again. See `filling`.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

from pyat.formula import sql
from pyat.formula.types import Kind
from pyat.foundation.db import Connection
from pyat.foundation.ids import BaseId
from pyat.foundation.sql import Statement, literal, quote
from pyat.recordstore import computing, ddl
from pyat.recordstore.columns import column_type
from pyat.recordstore.computing import COMPUTED, Gathered, Unlinked, error_column
from pyat.recordstore.structure import Base, Field, Link

AFFECTED_MAX: Final = 5_000
"""Records of one table that a write recomputes itself."""
MISSED_MAX: Final = 200_000
"""Records that a note of what is left has; where they are more, all of a table is filled again."""
FILLED: Final = 2**62
"""How far a column is filled that has a value in every record."""

_PREFIX: Final = "cmp"
_KINDS: Final = frozenset({Kind.NUMBER, Kind.TEXT, Kind.DATE})
_NOTHING: Final = "BEGIN RETURN {}; END"


# What is kept


@dataclass(frozen=True, slots=True)
class Cell:
    """A field whose cells are kept, or could be: SQL of its value over the relation `r`, and of whether it is an error."""

    field: Field
    value: str
    error: str
    pg_type: str
    shape: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Group:
    """Cells of a table that change with the links of one junction, or with what is at their other ends."""

    table_id: str
    way: Link
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """Of the function that sets them."""
        return f"{_PREFIX}_group_{self.way.own}_{self.way.junction}"


@dataclass(frozen=True, slots=True)
class Beyond:
    """What cells of a group see of the linked records that is not in these: their links, or what those show."""

    group: Group
    way: Link
    """From the linked table on."""
    primary: Field | None
    """Which the links are shown by; None where they are counted."""


@dataclass(slots=True)
class Kept:
    """The computed cells of a base that have columns, filled or not."""

    base: Base
    """Whose computed fields read those columns."""
    cells: dict[str, list[Cell]] = field(default_factory=dict)
    """By table id, each after those of its table that it depends on."""
    candidates: dict[str, list[Cell]] = field(default_factory=dict)
    """Cells that could have a column now: all that they depend on have one, and those are filled."""

    def groups(self) -> list[Group]:
        """All of them."""
        found: dict[tuple[str, str, str], tuple[Link, list[Cell]]] = {}
        for table_id, cells in self.cells.items():
            for cell in cells:
                for way in ways_of(cell.field):
                    found.setdefault((table_id, way.junction, way.own), (way, []))[1].append(cell)
        return [Group(table_id, way, tuple(cells)) for (table_id, _, _), (way, cells) in found.items()]

    def beyond(self) -> list[Beyond]:
        """All of it."""
        found: dict[tuple[str, str, str], Beyond] = {}
        for group in self.groups():
            for other in (one for cell in group.cells for one in _seen_through(cell, group.way)):
                way = other.link or (other.via if other.type == "count" else None)
                if way is not None:
                    primary = None if other.link is None else other.link.primary
                    key = group.name, f"{way.junction} {way.own}", "" if primary is None else primary.field_id
                    found[key] = Beyond(group, way, primary)
        return list(found.values())


def kept(base: Base) -> Kept:
    """What is kept of a base, and what could be."""
    made = Kept(computing.with_computed(base, is_fresh=True, uses_unready=True))
    for table in made.base.tables:
        fields = [one for one in table.fields if one.computed is not None]
        cells = {one.field_id: cell for one in fields if (cell := _cell(one)) is not None}
        own = [cell.field for cell in cells.values() if _is_kept(cell.field)]
        made.cells[table.table_id] = [cells[one.field_id] for one in _in_order(own)]
        made.candidates[table.table_id] = [
            cell for cell in cells.values() if not _is_kept(cell.field) and _is_fillable(cell.field, made.base)
        ]
    return made


async def kept_of(base: Base) -> Kept:
    """As `kept`, without keeping others waiting for long."""
    return await computing.aside((one.options for table in base.tables for one in table.fields), lambda: kept(base))


def _is_kept(one: Field) -> bool:
    return one.computed is not None and one.computed.stored is not None


def _cell(one: Field) -> Cell | None:
    computed = one.computed
    if computed is None or computing.definition_of(one) is None or computed.type.kind not in _KINDS:
        return None
    made = computed.expression("r")
    if made is None or made.branches or len(made.value) + len(made.error or "") > sql.LENGTH_MAX:
        return None
    shape = {"error": made.error is not None, "finite": made.is_finite, "filled": made.is_filled and made.error is None}
    return Cell(one, *_expressed(made), sql.pg_type(computed.type), shape)


def _expressed(made: sql.Sql) -> tuple[str, str]:
    """The value of a kept cell, and whether it is an error."""
    if made.error is None:
        return made.value, "NULL::bool"
    # A condition that is NULL is no error.
    return f"CASE WHEN {made.error} THEN NULL ELSE {made.value} END", f"({made.error}) OR NULL"


def _gathered(cell: Cell, by: Gathered) -> tuple[str, str]:
    """As a cell's own value and error, from what is gathered over its links."""
    computed = cell.field.computed
    made = None if computed is None else computed.expression("r", by)
    assert made is not None, "a kept cell is in SQL"
    return _expressed(made)


def inputs_of(one: Field) -> list[Field]:
    """The computed fields that a kept one reads, of its own table or, through links, of another one."""
    computed = one.computed
    assert computed is not None and computed.table is not None, "kept cells are computed"
    if computed.source is not None:
        direct = [computed.source]
    else:
        direct = [computed.table.fields[field_id] for field_id in computed.field_ids]
    found = [other.link.primary if other.link and other.link.primary else other for other in direct]
    return [other for other in found if other.computed is not None]


def _is_fillable(one: Field, base: Base) -> bool:
    return all(
        other.computed is not None and other.computed.stored is not None and other.computed.stored.is_ready
        for other in inputs_of(one)
    )


def _in_order(fields: Iterable[Field]) -> list[Field]:
    """Fields of a table, each after those it depends on."""
    left = {one.field_id: one for one in fields}
    found: list[Field] = []
    while left:
        ready = [one for one in left.values() if not any(other.field_id in left for other in _own_inputs(one))]
        assert ready, "fields that depend on each other are invalid"
        found += ready
        for one in ready:
            del left[one.field_id]
    return found


def _own_inputs(one: Field) -> list[Field]:
    """The computed fields of its own table that a formula reads."""
    computed = one.computed
    assert computed is not None and computed.table is not None, "kept cells are computed"
    if computed.way is not None:
        return []
    found = (computed.table.fields[field_id] for field_id in computed.field_ids)
    return [other for other in found if other.computed is not None]


def ways_of(one: Field) -> list[Link]:
    """The links that the cells depend on directly."""
    computed = one.computed
    assert computed is not None and computed.table is not None, "kept cells are computed"
    if computed.way is not None:
        return [computed.way]
    found: dict[tuple[str, str], Link] = {}
    for field_id in computed.field_ids:
        other = computed.table.fields[field_id]
        way = other.link or (other.via if other.type == "count" else None)
        if way is not None:
            found.setdefault((way.junction, way.own), way)
    return list(found.values())


def _seen_through(cell: Cell, way: Link) -> list[Field]:
    """The fields of the linked table that a cell depends on by some links."""
    computed = cell.field.computed
    assert computed is not None and computed.table is not None, "kept cells are computed"
    if computed.source is not None:
        return [computed.source]
    others = (computed.table.fields[field_id] for field_id in computed.field_ids)
    return [
        other.link.primary
        for other in others
        if other.link is not None
        and other.link.primary is not None
        and (other.link.junction, other.link.own) == (way.junction, way.own)
    ]


def _columns_of(one: Field) -> list[str]:
    """The columns whose change is a change of a field's cells."""
    if one.computed is not None:
        stored = one.computed.stored
        assert stored is not None, "what kept cells depend on is kept"
        return [stored.name, error_column(stored.name)]
    if column_type(one) is not None:
        return [one.field_id]
    return ["_modified"] if one.type == "lastModifiedTime" else []


def dependents(field_ids: Iterable[str], made: Kept) -> list[str]:
    """Kept fields that depend on some, directly or not, and those themselves."""
    found = dict.fromkeys(field_ids)
    every = [cell.field for cells in made.cells.values() for cell in cells]
    grew = True
    while grew:
        more = [
            one.field_id
            for one in every
            if one.field_id not in found and any(other.field_id in found for other in inputs_of(one))
        ]
        found |= dict.fromkeys(more)
        grew = bool(more)
    return list(found)


# Functions


def functions(made: Kept) -> dict[str, str]:
    """The bodies of the trigger functions (PL/pgSQL) and of those they call, by name."""
    base_id = made.base.base_id
    found: dict[str, str] = {}
    groups, beyond = made.groups(), made.beyond()
    for table in made.base.tables:
        cells = made.cells[table.table_id]
        if cells:
            found[_own_name(table.table_id)] = _own_body(base_id, cells)
        watched = [group for group in groups if group.way.linked_table_id == table.table_id]
        shown = [one for one in beyond if one.way.linked_table_id == table.table_id and one.primary is not None]
        body = _changed_body(base_id, watched, shown)
        if body is not None:
            found[_changed_name(table.table_id)] = body
    for group in groups:
        found[group.name] = _group_body(made, group)
    junctions: dict[str, list[Group]] = {}
    for group in groups:
        junctions.setdefault(group.way.junction, []).append(group)
    for one in beyond:
        junctions.setdefault(one.way.junction, [])
    for junction, its_groups in junctions.items():
        its_own = [one for one in beyond if one.way.junction == junction]
        found[_links_name(junction)] = _links_body(base_id, its_groups, its_own)
    return found


def _own_name(table_id: str) -> str:
    return f"{_PREFIX}_own_{table_id}"


def _changed_name(table_id: str) -> str:
    return f"{_PREFIX}_changed_{table_id}"


def _links_name(junction: str) -> str:
    return f"{_PREFIX}_links_{junction}"


def _own_body(base_id: BaseId, cells: Sequence[Cell]) -> str:
    """Before a row is stored: its formulas, if it is new or something that they read changed.

    In a new one also what comes over links, of which it has none yet.
    """
    steps = []
    for level in _levels(cells):
        new = [(cell, way) for cell in level if (way := _way_of(cell)) is not None]
        if new:
            made = [(cell, *_gathered(cell, Unlinked(way, base_id, "r", ""))) for cell, way in new]
            steps.append(f"IF TG_OP = 'INSERT' THEN {_assigned(made)} END IF;")
        every = [(cell, cell.value, cell.error) for cell in level if _way_of(cell) is None]
        if every:
            columns = list(dict.fromkeys(name for cell, _, _ in every for name in _own_columns(cell.field)))
            old, now = (", ".join(f"{row}.{quote(name)}" for name in columns) for row in ("OLD", "NEW"))
            changed = f" OR ROW({now})::record *<> ROW({old})::record" if columns else ""
            steps.append(f"IF TG_OP = 'INSERT'{changed} THEN {_assigned(every)} END IF;")
    return f"BEGIN {' '.join(steps)} RETURN NEW; END"


def _way_of(cell: Cell) -> Link | None:
    """The links of a rollup or lookup."""
    return None if cell.field.computed is None else cell.field.computed.way


def _own_columns(one: Field) -> list[str]:
    """The columns of its own record that a formula reads."""
    computed = one.computed
    assert computed is not None and computed.table is not None and computed.formula is not None, "it is a formula"
    found = [name for field_id in computed.field_ids for name in _columns_of(computed.table.fields[field_id])]
    for wanted in computed.formula.inputs:
        if wanted.key == "LAST_MODIFIED_TIME":
            watcher = computed.table.watcher(wanted.field_ids)
            found += ["_modified"] if watcher is None else _columns_of(watcher)
    return found


def _levels(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells that do not depend on each other, together."""
    depth: dict[str, int] = {}
    found: list[list[Cell]] = []
    for cell in cells:
        own = [depth[other.field_id] + 1 for other in _own_inputs(cell.field) if other.field_id in depth]
        level = depth[cell.field.field_id] = max(own, default=0)
        if level == len(found):
            found.append([])
        found[level].append(cell)
    return found


def _assigned(cells: Iterable[tuple[Cell, str, str]]) -> str:
    sources, targets = [], []
    for cell, value, error in cells:
        name = _stored_name(cell)
        sources.append(value)
        targets.append(f"NEW.{quote(name)}")
        if cell.shape["error"]:
            sources.append(error)
            targets.append(f"NEW.{quote(error_column(name))}")
    return f"SELECT {', '.join(sources)} INTO {', '.join(targets)} FROM (SELECT NEW.*) r;"


def _stored_name(cell: Cell) -> str:
    computed = cell.field.computed
    assert computed is not None and computed.stored is not None, "only kept cells are set"
    return computed.stored.name


def _changed_body(base_id: BaseId, groups: Sequence[Group], beyond: Sequence[Beyond]) -> str | None:
    """After records changed: whoever shows them over links."""
    steps = []
    for group in groups:
        seen = [other for cell in group.cells for other in _seen_through(cell, group.way)]
        columns = list(dict.fromkeys(name for other in seen for name in _columns_of(other)))
        if columns:
            steps.append(f"{_changed(columns)} {_spread(base_id, group)}")
    for one in beyond:
        if one.primary is not None and (columns := _columns_of(one.primary)):
            way = one.way
            steps.append(
                f"{_changed(columns)} IF changed IS NOT NULL THEN SELECT array_agg(DISTINCT l.{way.own}) INTO changed"
                f" FROM {quote(base_id, way.junction)} l WHERE l.{way.other} = ANY (changed); END IF;"
                f" {_spread_beyond(base_id, one)}"
            )
    return f"{_DECLARED} BEGIN {' '.join(steps)} RETURN NULL; END" if steps else None


_DECLARED: Final = "DECLARE changed int8[]; affected int8[]; reached int8;"


def _changed(columns: Sequence[str]) -> str:
    """Find the records in which something else is in some columns now."""
    new, old = (", ".join(f"{alias}.{quote(name)}" for name in columns) for alias in "no")
    return (
        "SELECT array_agg(n._n) INTO changed FROM new_rows n JOIN old_rows o ON o._n = n._n"
        f" WHERE ROW({new})::record *<> ROW({old})::record;"
    )


def _spread(base_id: BaseId, group: Group) -> str:
    """From the `changed` records of the linked table to those that show them."""
    name = quote(base_id, group.name)
    return (
        "IF changed IS NOT NULL THEN"
        # Links are counted, not records, so that nobody looks at all of a hub's.
        f" SELECT count(*), array_agg(DISTINCT l.n) INTO reached, affected FROM (SELECT l.{group.way.own} AS n"
        f" FROM {quote(base_id, group.way.junction)} l WHERE l.{group.way.other} = ANY (changed)"
        f" LIMIT {AFFECTED_MAX + 1}) l;"
        f" IF reached > {AFFECTED_MAX} THEN PERFORM {name}(NULL, changed);"
        f" ELSIF reached > 0 THEN PERFORM {name}(affected, NULL); END IF; END IF;"
    )


def _spread_beyond(base_id: BaseId, beyond: Beyond) -> str:
    """As `_spread`, where nothing was written to the `changed` records themselves.

    They are locked as if it had been: whoever links to one of them at the same time is waited for, or waits.
    """
    group = beyond.group
    return (
        f"IF cardinality(changed) > {AFFECTED_MAX} THEN PERFORM {quote(base_id, group.name)}(NULL, changed);"
        f" ELSIF changed IS NOT NULL THEN PERFORM FROM {quote(base_id, group.way.linked_table_id)} r"
        f" WHERE r._n = ANY (changed) ORDER BY r._n FOR NO KEY UPDATE; {_spread(base_id, group)} END IF;"
    )


def _links_body(base_id: BaseId, groups: Sequence[Group], beyond: Sequence[Beyond]) -> str:
    """After links came, went or changed places: the records on the sides that show something over them."""
    steps = [
        f"{_ends_of_links(group.way.own, 'affected')} PERFORM {quote(base_id, group.name)}(affected, NULL);"
        for group in groups
    ]
    steps += [f"{_ends_of_links(one.way.own, 'changed')} {_spread_beyond(base_id, one)}" for one in beyond]
    return f"{_DECLARED} BEGIN {' '.join(steps)} RETURN NULL; END"


def _ends_of_links(side: str, name: str) -> str:
    """Find the records on one side of the links."""
    parts = {
        "INSERT": f"SELECT {side} AS n FROM new_rows",
        "DELETE": f"SELECT {side} AS n FROM old_rows",
        "UPDATE": f"SELECT {side} AS n FROM new_rows UNION SELECT {side} FROM old_rows",
    }
    chosen = " ELS".join(
        f"IF TG_OP = '{operation}' THEN SELECT array_agg(l.n) INTO {name}"
        f" FROM (SELECT DISTINCT q.n FROM ({part}) q LIMIT {MISSED_MAX + 1}) l;"
        for operation, part in parts.items()
    )
    return f"{chosen} END IF;"


def _group_body(made: Kept, group: Group) -> str:
    """Set the cells of a group in some records, or note that they are too many: they, or what they show (`changed`)."""
    base_id = made.base.base_id
    field_ids = [cell.field.field_id for cell in group.cells]
    missed = dependents(field_ids, made)
    row = ", ".join(literal(text) for text in (group.table_id, group.way.junction, group.way.own))
    return (
        "BEGIN IF affected IS NULL AND changed IS NULL THEN RETURN; END IF;"
        f" IF greatest(cardinality(affected), cardinality(changed)) > {MISSED_MAX} THEN"
        f" {unfilled_sql(base_id, field_ids)}; {_miss_sql(base_id, missed)}; RETURN; END IF;"
        f" IF changed IS NOT NULL OR cardinality(affected) > {AFFECTED_MAX} THEN"
        f" INSERT INTO {quote(base_id)}.base_missed (table_id, junction, own, changed, affected)"
        f" VALUES ({row}, changed, affected); {_miss_sql(base_id, missed)}; RETURN; END IF;"
        # What is read after the lock has all that others wrote who had it before.
        f" PERFORM FROM {quote(base_id, group.table_id)} r WHERE r._n = ANY (affected) ORDER BY r._n FOR NO KEY UPDATE;"
        f" {set_sql(base_id, group.table_id, group.cells, 'affected')}; END"
    )


def _miss_sql(base_id: BaseId, field_ids: Sequence[str]) -> str:
    """A statement after which columns are not read before what was missed is made up for."""
    return (
        f"UPDATE {quote(base_id)}.base_computed SET is_ready = false, misses = misses + 1,"
        f" filled = CASE WHEN is_ready THEN {FILLED} ELSE filled END WHERE field_id IN ({_listed(field_ids)})"
    )


def unfilled_sql(base_id: BaseId, field_ids: Sequence[str]) -> str:
    """A statement after which columns are not read before they were filled again."""
    return (
        f"UPDATE {quote(base_id)}.base_computed SET is_ready = false, filled = 0, misses = misses + 1"
        f" WHERE field_id IN ({_listed(field_ids)})"
    )


def _listed(field_ids: Sequence[str]) -> str:
    return ", ".join(literal(field_id) for field_id in field_ids)


def set_sql(base_id: BaseId, table_id: str, cells: Sequence[Cell], numbers: str) -> str:
    """A statement that sets cells of the records with some creation numbers (SQL of an int8[]), where they differ."""
    relation = quote(base_id, table_id)
    values, sets, own, new = [], [], [], []
    ways: dict[tuple[str, str], Gathered] = {}
    for number, cell in enumerate(cells):
        name = _stored_name(cell)
        way, value, error = _way_of(cell), cell.value, cell.error
        if way is not None:
            by = ways.setdefault((way.junction, way.own), Gathered(way, base_id, "r", f"g{len(ways)}"))
            value, error = _gathered(cell, by)
        values.append(f"{value} AS v{number}")
        pairs = [(name, f"v{number}")]
        if cell.shape["error"]:
            values.append(f"{error} AS e{number}")
            pairs.append((error_column(name), f"e{number}"))
        for column, alias in pairs:
            sets.append(f"{quote(column)} = x.{alias}")
            own.append(f"r.{quote(column)}")
            new.append(f"x.{alias}")
    joined = "".join(f" CROSS JOIN {by.sql}" for by in ways.values() if by.sql)
    return (
        f"UPDATE {relation} r SET {', '.join(sets)} FROM"
        f" (SELECT r._n, {', '.join(values)} FROM {relation} r{joined} WHERE r._n = ANY ({numbers}) OFFSET 0) x"
        f" WHERE x._n = r._n AND ROW({', '.join(own)})::record *<> ROW({', '.join(new)})::record"
    )


def set_own_sql(base_id: BaseId, table_id: str, cells: Sequence[Cell]) -> str:
    """As `set_sql`, of cells that read no other records: in those after the creation number `$1` up to `$2`.

    Nothing has to be locked before: of a record that somebody else has just written, PostgreSQL takes the values anew.
    """
    pairs = []
    for cell in cells:
        name = _stored_name(cell)
        pairs.append((name, cell.value))
        if cell.shape["error"]:
            pairs.append((error_column(name), cell.error))
    sets = ", ".join(f"{quote(column)} = {value}" for column, value in pairs)
    own, new = ", ".join(f"r.{quote(column)}" for column, _ in pairs), ", ".join(value for _, value in pairs)
    return (
        f"UPDATE {quote(base_id, table_id)} r SET {sets} WHERE r._n > $1 AND r._n <= $2"
        f" AND ROW({own})::record *<> ROW({new})::record"
    )


# In PostgreSQL


_FUNCTIONS = Statement(
    "computed_functions",
    "SELECT p.proname AS name, obj_description(p.oid, 'pg_proc') AS digest FROM pg_proc p"
    " WHERE p.pronamespace = $1::regnamespace AND starts_with(p.proname, $2)",
)


async def _replace_functions(connection: Connection, base_id: BaseId, wanted: Mapping[str, str]) -> None:
    """Make the functions there are those that are wanted; what is not wanted any more does nothing."""
    there = {row["name"]: row["digest"] for row in await connection.rows(_FUNCTIONS, quote(base_id), f"{_PREFIX}_")}
    bodies = dict(wanted)
    for name in there.keys() - wanted.keys():
        bodies[name] = _NOTHING.format("NEW" if name.startswith(_own_name("")) else "NULL")
        if name.startswith(f"{_PREFIX}_group_"):
            bodies[name] = _NOTHING.format("")
    script = []
    for name, body in bodies.items():
        digest = hashlib.sha256(body.encode()).hexdigest()[:16]
        if there.get(name) == digest:
            continue
        is_group = name.startswith(f"{_PREFIX}_group_")
        signature = f"{quote(base_id, name)}({'affected int8[], changed int8[]' if is_group else ''})"
        script.append(
            f"CREATE OR REPLACE FUNCTION {signature} RETURNS {'void' if is_group else 'trigger'}"
            f" LANGUAGE plpgsql AS {literal(body)};"
            f"COMMENT ON FUNCTION {quote(base_id, name)} IS {literal(digest)};"
        )
    if script:
        await connection.script("replace_computed", "".join(script))


_TRIGGERS = Statement(
    "computed_triggers",
    "SELECT c.relname AS relation, t.tgname AS name FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
    " WHERE c.relnamespace = $1::regnamespace AND starts_with(t.tgname, $2)",
)


async def _add_triggers(connection: Connection, base_id: BaseId, wanted: Mapping[str, str]) -> None:
    """Let relations call the functions they need to; those that do already are left alone.

    Raises LockNotAvailableError after `ddl.RELATION_LOCK_TIMEOUT_MS`.
    """
    rows = await connection.rows(_TRIGGERS, quote(base_id), f"{_PREFIX}_")
    there = {(row["relation"], row["name"]) for row in rows}
    for name in wanted:
        kind, _, target = name.removeprefix(f"{_PREFIX}_").partition("_")
        for trigger, text in _TRIGGER_TEXTS.get(kind, {}).items():
            if (target, trigger) in there:
                continue
            relation = quote(base_id, target)
            call = f"EXECUTE FUNCTION {quote(base_id, name)}()"
            await connection.script(
                "add_trigger", f"{ddl.exclusively(relation)}CREATE TRIGGER {trigger} {text.format(relation)} {call}"
            )


_OLD, _NEW = "OLD TABLE AS old_rows", "NEW TABLE AS new_rows"
_TRIGGER_TEXTS: Final[Mapping[str, Mapping[str, str]]] = {
    "own": {f"{_PREFIX}_own": "BEFORE INSERT OR UPDATE ON {} FOR EACH ROW"},
    "changed": {f"{_PREFIX}_changed": f"AFTER UPDATE ON {{}} REFERENCING {_OLD} {_NEW} FOR EACH STATEMENT"},
    "links": {
        f"{_PREFIX}_made": f"AFTER INSERT ON {{}} REFERENCING {_NEW} FOR EACH STATEMENT",
        f"{_PREFIX}_gone": f"AFTER DELETE ON {{}} REFERENCING {_OLD} FOR EACH STATEMENT",
        f"{_PREFIX}_placed": f"AFTER UPDATE ON {{}} REFERENCING {_OLD} {_NEW} FOR EACH STATEMENT",
    },
}


async def is_computing(connection: Connection, base_id: BaseId) -> bool:
    """Whether a base has computed fields, or columns of such."""
    base, types = quote(base_id), ", ".join(literal(name) for name in sorted(COMPUTED))
    found: bool = await connection.value(
        Statement(
            "is_computing",
            f"SELECT EXISTS (SELECT FROM {base}.base_fields WHERE type IN ({types}) AND deleted_at IS NULL)"
            f" OR EXISTS (SELECT FROM {base}.base_computed WHERE field_id IS NOT NULL)",
        )
    )
    return found


ASK: Final = Statement(
    "ask_for_computed",
    "INSERT INTO schema.computed_work (base_id) VALUES ($1)"
    " ON CONFLICT (base_id) DO UPDATE SET asked = computed_work.asked + 1",
)


async def refresh(connection: Connection, base: Base) -> None:
    """Fit what is kept to a structure that was just changed, in the transaction that changed it.

    `base` is the changed structure. Columns of fields that mean something else now are given up; the others go on.
    """
    made = await kept_of(base)
    cells = [cell for its_cells in made.cells.values() for cell in its_cells]
    names = quote(base.base_id)
    field_ids = [cell.field.field_id for cell in cells]
    await connection.run(
        Statement(
            "give_up_columns",
            f"UPDATE {names}.base_computed SET field_id = NULL, is_ready = false WHERE field_id <> ALL ($1::text[])",
        ),
        field_ids,
    )
    for cell in cells:
        definition = computing.definition_of(cell.field)
        stored = cell.field.stored
        if stored is not None and definition != stored.definition:
            await connection.run(
                Statement(
                    "update_definition",
                    f"UPDATE {names}.base_computed SET definition = $2::jsonb WHERE field_id = $1",
                ),
                cell.field.field_id,
                orjson.dumps(definition).decode(),
            )
    await _replace_functions(connection, base.base_id, functions(made))
    has_unready = any(cell.field.stored is not None and not cell.field.stored.is_ready for cell in cells)
    if has_unready or any(made.candidates.values()):
        await connection.run(ASK, base.base_id)


async def add_columns(connection: Connection, base: Base, generation: str) -> int:
    """Give the cells that can be kept now their columns, to be filled; how many got one.

    The caller holds the structure (`ddl.hold`). Raises LockNotAvailableError after `ddl.RELATION_LOCK_TIMEOUT_MS`.
    """
    names = quote(base.base_id)
    added = 0
    for table_id, cells in (await kept_of(base)).candidates.items():
        if not cells:
            continue
        rows = await connection.rows(
            Statement(
                "computed_columns",
                f"SELECT name, pg_type, field_id FROM {names}.base_computed WHERE table_id = $1 ORDER BY name",
            ),
            table_id,
        )
        free: dict[str, list[str]] = {}
        for row in rows:
            if row["field_id"] is None:
                free.setdefault(row["pg_type"], []).append(row["name"])
        count = len(rows)
        columns = []
        for cell in cells:
            if free.get(cell.pg_type):
                name = free[cell.pg_type].pop()
            else:
                count += 1
                name = f"{_PREFIX}_{count}"
                columns.append(f"ADD COLUMN {name} {cell.pg_type}, ADD COLUMN {error_column(name)} bool")
            await connection.run(
                Statement(
                    "take_column",
                    f"INSERT INTO {names}.base_computed (table_id, name, pg_type, field_id, generation, definition, shape)"
                    " VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb) ON CONFLICT (table_id, name) DO UPDATE SET"
                    " field_id = $4, generation = $5, definition = $6::jsonb, shape = $7::jsonb, is_ready = false, filled = 0",
                ),
                table_id,
                name,
                cell.pg_type,
                cell.field.field_id,
                f"{generation}.{cell.field.field_id}",
                orjson.dumps(computing.definition_of(cell.field)).decode(),
                orjson.dumps(cell.shape).decode(),
            )
            added += 1
        if columns:
            relation = quote(base.base_id, table_id)
            await connection.script(
                "add_computed_columns", f"{ddl.exclusively(relation)}ALTER TABLE {relation} {', '.join(columns)}"
            )
    if added:
        _, tables = await ddl.load(connection, base.base_id)
        wanted = functions(await kept_of(replace(base, tables=tables)))
        await _replace_functions(connection, base.base_id, wanted)
        await _add_triggers(connection, base.base_id, wanted)
    return added
