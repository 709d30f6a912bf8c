"""The relations a base has beside those of its tables, as numbered steps: a new base takes all of them, an older one the rest.

A step never changes once it was released; a later layout is a later step. `{base}` is the quoted schema of the base.
"""

from datetime import UTC, datetime

from pyat.foundation.db import Connection
from pyat.foundation.ids import BaseId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.changelog import add_partition

_STRUCTURE = """
CREATE TABLE {base}.base_state (
    only_row bool PRIMARY KEY DEFAULT true CHECK (only_row),
    version int8 NOT NULL
);
INSERT INTO {base}.base_state (version) VALUES (1);
CREATE TABLE {base}.base_tables (
    table_id text COLLATE "C" PRIMARY KEY,
    position int8 GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    description text,
    primary_field_id text NOT NULL,
    date_dependency jsonb,
    auto_number int8 NOT NULL DEFAULT 0
);
CREATE TABLE {base}.base_fields (
    field_id text COLLATE "C" PRIMARY KEY,
    table_id text NOT NULL REFERENCES {base}.base_tables ON DELETE CASCADE,
    position int8 GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    type text NOT NULL,
    options jsonb NOT NULL,
    description text
);
CREATE TABLE {base}.base_views (
    view_id text COLLATE "C" PRIMARY KEY,
    table_id text NOT NULL REFERENCES {base}.base_tables ON DELETE CASCADE,
    position int8 GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    type text NOT NULL,
    field_ids text[] NOT NULL,
    hidden_field_ids text[] NOT NULL
);
"""

# `base_log.last` is the number of the base's last change. `cells` is text, not jsonb: nothing looks into it in SQL.
# Partitions are made by whoever writes first in a month: see `recordstore.changelog`.
_CONTENT = """
ALTER TABLE {base}.base_state ADD COLUMN layout int4 NOT NULL DEFAULT 1;
ALTER TABLE {base}.base_tables
    ADD COLUMN deleted_at timestamptz, ADD COLUMN deleted_by text, ADD COLUMN purged_at timestamptz;
ALTER TABLE {base}.base_fields
    ADD COLUMN link jsonb, ADD COLUMN deleted_at timestamptz, ADD COLUMN deleted_by text, ADD COLUMN deleted_with text,
    ADD COLUMN purged_at timestamptz;
ALTER TABLE {base}.base_views
    ADD COLUMN filter jsonb,
    ADD COLUMN sorts jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN groups jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN settings jsonb NOT NULL DEFAULT '{{}}',
    ADD COLUMN description text;
CREATE TABLE {base}.base_users (
    user_id text COLLATE "C" PRIMARY KEY,
    email text,
    name text
);
CREATE TABLE {base}.base_log (
    only_row bool PRIMARY KEY DEFAULT true CHECK (only_row),
    last int8 NOT NULL
) WITH (fillfactor = 10);
INSERT INTO {base}.base_log (last) VALUES (0);
CREATE TABLE {base}.base_changes (
    n int8 NOT NULL,
    at timestamptz NOT NULL,
    table_number int4,
    kind int2 NOT NULL,
    source int2 NOT NULL,
    actor text,
    item text,
    cells text,
    undoes int8
) PARTITION BY RANGE (at);
CREATE INDEX base_changes_n ON {base}.base_changes (n);
CREATE INDEX base_changes_item ON {base}.base_changes (item);
CREATE TABLE {base}.base_comments (
    comment_id text COLLATE "C" PRIMARY KEY,
    n int8 GENERATED ALWAYS AS IDENTITY,
    table_id text NOT NULL REFERENCES {base}.base_tables ON DELETE CASCADE,
    record_id text COLLATE "C" NOT NULL,
    parent_id text,
    author_id text NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz,
    reactions jsonb NOT NULL DEFAULT '[]'
);
CREATE INDEX base_comments_record ON {base}.base_comments (record_id, n);
CREATE TABLE {base}.base_attachments (
    attachment_id text COLLATE "C" PRIMARY KEY,
    state text NOT NULL,
    content_hash text,
    filename text NOT NULL,
    size int8,
    type text,
    width int4,
    height int4,
    thumbnails jsonb,
    source_url text,
    failure text,
    created_at timestamptz NOT NULL,
    created_by text,
    table_id text,
    field_id text,
    record_id text,
    released_at timestamptz
);
CREATE INDEX base_attachments_record ON {base}.base_attachments (record_id);
CREATE INDEX base_attachments_content ON {base}.base_attachments (content_hash);
CREATE INDEX base_attachments_released ON {base}.base_attachments (released_at) WHERE released_at IS NOT NULL;
CREATE TABLE {base}.base_syncs (
    sync_id text COLLATE "C" PRIMARY KEY,
    table_id text NOT NULL REFERENCES {base}.base_tables ON DELETE CASCADE,
    key_field_id text NOT NULL,
    is_deleting bool NOT NULL,
    created_at timestamptz NOT NULL
);
"""

# A column of `base_computed` that is no field's waits for the next one of its type: a relation has 1,600 columns in its
# whole life. `misses` counts changes that were too large for their own transaction. A column that is not to be read any
# more makes plans out of date, and that at the very end of the transaction, which goes on by its own plan until then.
# `base_missed` has what such changes left to do: the records of one side of links that changed, or those of the other side
# that show something of them.
_COMPUTED = """
CREATE TABLE {base}.base_computed (
    table_id text NOT NULL REFERENCES {base}.base_tables ON DELETE CASCADE,
    name text NOT NULL,
    pg_type text NOT NULL,
    field_id text UNIQUE,
    generation text NOT NULL,
    definition jsonb NOT NULL,
    shape jsonb NOT NULL,
    is_ready bool NOT NULL DEFAULT false,
    filled int8 NOT NULL DEFAULT 0,
    misses int8 NOT NULL DEFAULT 0,
    PRIMARY KEY (table_id, name)
);
CREATE TABLE {base}.base_missed (
    id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_id text NOT NULL REFERENCES {base}.base_tables ON DELETE CASCADE,
    junction text NOT NULL,
    own text NOT NULL,
    changed int8[],
    affected int8[]
);
CREATE FUNCTION {base}.base_computed_missed() RETURNS trigger LANGUAGE plpgsql AS $missed$
BEGIN
    IF OLD.is_ready THEN
        UPDATE {base}.base_state SET version = version + 1;
    END IF;
    INSERT INTO schema.computed_work (base_id) VALUES (TG_TABLE_SCHEMA)
        ON CONFLICT (base_id) DO UPDATE SET asked = computed_work.asked + 1;
    RETURN NULL;
END
$missed$;
CREATE CONSTRAINT TRIGGER base_computed_missed AFTER UPDATE ON {base}.base_computed
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.misses > OLD.misses)
    EXECUTE FUNCTION {base}.base_computed_missed();
"""

_STEPS = (_STRUCTURE, _CONTENT, _COMPUTED)
CURRENT = len(_STEPS)
"""The number of the newest layout."""

_HAS_LAYOUT = Statement(
    "has_layout",
    "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'layout')",
)


async def create(connection: Connection, base_id: BaseId) -> None:
    """The relations of a new base, in its own new schema."""
    base = quote(base_id)
    steps = "".join(step.format(base=base) for step in _STEPS)
    await connection.script(
        "create_base", f"CREATE SCHEMA {base};{steps}UPDATE {base}.base_state SET layout = {CURRENT}"
    )
    await add_partition(connection, base_id, datetime.now(UTC))


async def layout_of(connection: Connection, base_id: BaseId) -> int:
    """The number of a base's layout, from 1."""
    state = f"{quote(base_id)}.base_state"
    if not await connection.value(_HAS_LAYOUT, state):
        return 1
    found: int = await connection.value(Statement("layout", f"SELECT layout FROM {state}"))
    return found


async def upgrade(connection: Connection, base_id: BaseId) -> bool:
    """Take an older base to the newest layout in this transaction; False where there is nothing to do."""
    base = quote(base_id)
    await connection.value(Statement("lock_base_state", f"SELECT version FROM {base}.base_state FOR UPDATE"))
    found = await layout_of(connection, base_id)
    if found >= CURRENT:
        return False
    steps = "".join(step.format(base=base) for step in _STEPS[found:])
    await connection.script("upgrade_base", f"{steps}UPDATE {base}.base_state SET layout = {CURRENT}")
    await add_partition(connection, base_id, datetime.now(UTC))
    return True
