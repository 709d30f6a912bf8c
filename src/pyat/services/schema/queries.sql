-- Every statement here names the tenant, except find_bases: its callers check the tenant of what they get.

-- find_bases --
-- The registry's rows of $1 (text[], base ids), oldest first. Index: primary key.
SELECT base_id, tenant_id, workspace_id, name
FROM schema.bases
WHERE base_id = ANY ($1::text[])
ORDER BY position;

-- list_bases --
-- Up to $4 bases of tenant $1 after position $3, oldest first; $2 (text[] or NULL) are the only ones the caller reaches.
-- Index: (tenant_id, position).
SELECT base_id, workspace_id, name
FROM schema.bases
WHERE tenant_id = $1
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
