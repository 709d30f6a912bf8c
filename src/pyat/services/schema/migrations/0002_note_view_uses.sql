-- When records were last listed through a view that an index can serve; only such views get one.
CREATE TABLE schema.view_uses (
    view_id text COLLATE "C" PRIMARY KEY,
    used_at timestamptz NOT NULL
);

CREATE INDEX view_uses_used_idx ON schema.view_uses (used_at);
