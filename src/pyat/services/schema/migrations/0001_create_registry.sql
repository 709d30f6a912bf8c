-- Workspaces and the registry of bases. The structure of a base lies in the base's own schema (recordstore.ddl).
CREATE SCHEMA schema;

CREATE TABLE schema.workspaces (
    workspace_id text COLLATE "C" PRIMARY KEY,
    tenant_id text COLLATE "C" NOT NULL,
    position int8 GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, position),
    UNIQUE (workspace_id, tenant_id)
);

CREATE TABLE schema.bases (
    base_id text COLLATE "C" PRIMARY KEY,
    tenant_id text COLLATE "C" NOT NULL,
    workspace_id text COLLATE "C" NOT NULL,
    position int8 GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, position),
    -- A base never lies in another tenant's workspace.
    FOREIGN KEY (workspace_id, tenant_id) REFERENCES schema.workspaces (workspace_id, tenant_id)
);

CREATE INDEX bases_workspace_idx ON schema.bases (workspace_id, tenant_id);
