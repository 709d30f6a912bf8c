-- Every statement here names the tenant, except find_bases: its callers check the tenant of what they get.

-- find_bases --
-- The registry's rows of $1 (text[], base ids), oldest first, without deleted ones. Index: primary key.
SELECT base_id, tenant_id, workspace_id, name
FROM schema.bases
WHERE base_id = ANY ($1::text[]) AND deleted_at IS NULL
ORDER BY position;

-- list_bases --
-- Up to $4 bases of tenant $1 after position $3, oldest first; $2 (text[] or NULL) are the only ones the caller reaches.
-- Index: (tenant_id, position).
SELECT base_id, workspace_id, name
FROM schema.bases
WHERE tenant_id = $1 AND deleted_at IS NULL
    AND ($2::text[] IS NULL OR base_id = ANY ($2::text[]))
    AND position > $3
ORDER BY position
LIMIT $4;

-- base_position --
-- Where base $2 stands among the bases of tenant $1; no row where it is not the tenant's.
SELECT position
FROM schema.bases
WHERE tenant_id = $1 AND base_id = $2;

-- insert_base --
-- A new base $1 of tenant $2 in its workspace $3, named $4.
INSERT INTO schema.bases (base_id, tenant_id, workspace_id, name)
VALUES ($1, $2, $3, $4);

-- rename_base --
-- Another name $3 for base $2 of tenant $1.
UPDATE schema.bases
SET name = $3
WHERE tenant_id = $1 AND base_id = $2;

-- delete_base --
-- Base $2 of tenant $1 is deleted by $3; no row where it is not there.
UPDATE schema.bases
SET deleted_at = now(), deleted_by = $3
WHERE tenant_id = $1 AND base_id = $2 AND deleted_at IS NULL
RETURNING base_id;

-- restore_base --
-- Base $2 of tenant $1, deleted in the last $3 (interval), is there again; no row where there is none such.
UPDATE schema.bases
SET deleted_at = NULL, deleted_by = NULL
WHERE tenant_id = $1 AND base_id = $2 AND deleted_at > now() - $3::interval
RETURNING name;

-- list_deleted_bases --
-- Up to $6 bases of tenant $1 that were deleted in the last $3 (interval), newest first, after the moment $4 and id $5
-- of the last one seen (NULL: from the first); $2 (text[] or NULL) are the only ones the caller reaches.
-- Index: (tenant_id, deleted_at) of deleted bases.
SELECT base_id, name, deleted_at, deleted_by
FROM schema.bases
WHERE tenant_id = $1
    AND ($2::text[] IS NULL OR base_id = ANY ($2::text[]))
    AND deleted_at > now() - $3::interval
    AND ($4::timestamptz IS NULL OR (deleted_at, base_id) < ($4, $5::text))
ORDER BY deleted_at DESC, base_id DESC
LIMIT $6;

-- old_bases --
-- Up to $2 bases, of every tenant, that were deleted longer than $1 (interval) ago: the platform removes them.
SELECT base_id FROM schema.bases WHERE deleted_at <= now() - $1::interval LIMIT $2;

-- remove_base --
-- A base $1 whose relations are gone leaves the registry; the platform removes it, whosever it was.
DELETE FROM schema.bases WHERE base_id = $1 AND deleted_at IS NOT NULL;

-- has_workspace --
-- Whether tenant $1 has workspace $2.
SELECT EXISTS (SELECT FROM schema.workspaces WHERE tenant_id = $1 AND workspace_id = $2);

-- list_workspaces --
-- Up to $3 workspaces of tenant $1, oldest first; with $2 (text[] or NULL) only those that hold one of these bases.
-- Index: (tenant_id, position).
SELECT w.workspace_id, w.tenant_id, w.name, w.created_at
FROM schema.workspaces w
WHERE w.tenant_id = $1
    AND (
        $2::text[] IS NULL
        OR EXISTS (
            SELECT FROM schema.bases b
            WHERE b.workspace_id = w.workspace_id AND b.tenant_id = w.tenant_id AND b.base_id = ANY ($2::text[])
                AND b.deleted_at IS NULL
        )
    )
ORDER BY w.position
LIMIT $3;

-- insert_workspace --
-- A new workspace $1 of tenant $2 named $3; no row where the tenant has $4 of them already.
INSERT INTO schema.workspaces (workspace_id, tenant_id, name)
SELECT $1, $2, $3
WHERE (SELECT count(*) FROM schema.workspaces WHERE tenant_id = $2) < $4
RETURNING created_at;

-- all_bases --
-- Every base there is, deleted ones included, by id after $1, at most $2. Rows: base_id.
SELECT base_id FROM schema.bases WHERE base_id > $1 ORDER BY base_id LIMIT $2;

-- view_index_turn --
-- Whether this transaction is the only one that builds and drops indexes of views.
SELECT pg_try_advisory_xact_lock(x'76696577'::int4);

-- note_view_use --
-- View $1 was listed now.
INSERT INTO schema.view_uses (view_id, used_at)
VALUES ($1, now())
ON CONFLICT (view_id) DO UPDATE SET used_at = EXCLUDED.used_at;

-- used_views --
-- The views that were listed in the last $1 seconds, at most $2. Index: used_at.
SELECT view_id
FROM schema.view_uses
WHERE used_at >= now() - $1::float8 * interval '1 second'
ORDER BY used_at DESC
LIMIT $2;

-- forget_view_uses --
-- Views that were not listed in the last $1 seconds. Index: used_at.
DELETE FROM schema.view_uses
WHERE used_at < now() - $1::float8 * interval '1 second';

-- take_computed_work --
-- A base whose computed cells have columns to fill, held for $1 seconds; no row where there is none that nobody holds.
UPDATE schema.computed_work w
SET leased_until = now() + make_interval(secs => $1)
FROM (
    SELECT base_id FROM schema.computed_work WHERE leased_until < now() ORDER BY leased_until, base_id LIMIT 1
    FOR UPDATE SKIP LOCKED
) f
WHERE w.base_id = f.base_id
RETURNING w.base_id, w.asked;

-- hold_computed_work --
-- Base $1 is held for $2 more seconds.
UPDATE schema.computed_work
SET leased_until = now() + make_interval(secs => $2)
WHERE base_id = $1;

-- end_computed_work --
-- Base $1 has nothing to fill, unless somebody asked again since it was asked $2 times.
DELETE FROM schema.computed_work
WHERE base_id = $1 AND asked = $2
RETURNING base_id;

-- release_computed_work --
-- Base $1 has more to fill, for anybody.
UPDATE schema.computed_work
SET leased_until = '-infinity'
WHERE base_id = $1;
