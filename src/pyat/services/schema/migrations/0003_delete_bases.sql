-- A deleted base stays in the registry, where nobody sees it, until it is restored or purged.
ALTER TABLE schema.bases ADD COLUMN deleted_at timestamptz, ADD COLUMN deleted_by text;

CREATE INDEX bases_deleted_idx ON schema.bases (tenant_id, deleted_at) WHERE deleted_at IS NOT NULL;
