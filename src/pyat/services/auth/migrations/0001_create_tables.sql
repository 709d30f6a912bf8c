-- Tenants, users, passwords, sessions and personal access tokens.
-- Every row names its tenant, and the foreign keys carry it, so that no row can point into another tenant.

CREATE SCHEMA auth;

CREATE TABLE auth.tenants (
    tenant_id text PRIMARY KEY,
    name text NOT NULL,
    created_time timestamptz NOT NULL
);

CREATE TABLE auth.users (
    user_id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES auth.tenants,
    email text NOT NULL,
    -- The address as it is compared: folded to one case by the application, whatever the server's locale.
    email_key text NOT NULL UNIQUE,
    name text NOT NULL,
    created_time timestamptz NOT NULL,
    UNIQUE (tenant_id, user_id)
);

CREATE TABLE auth.passwords (
    user_id text PRIMARY KEY,
    tenant_id text NOT NULL,
    -- Argon2's own text form: parameters, salt and hash.
    password_hash text NOT NULL,
    changed_time timestamptz NOT NULL,
    FOREIGN KEY (tenant_id, user_id) REFERENCES auth.users (tenant_id, user_id) ON DELETE CASCADE
);

CREATE TABLE auth.sessions (
    session_id text PRIMARY KEY,
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    -- SHA-256 of the whole credential. The secret has 256 random bits, so a slow hash would add nothing.
    digest bytea NOT NULL UNIQUE,
    created_time timestamptz NOT NULL,
    expires_time timestamptz NOT NULL,
    FOREIGN KEY (tenant_id, user_id) REFERENCES auth.users (tenant_id, user_id) ON DELETE CASCADE
);

CREATE INDEX sessions_user_idx ON auth.sessions (user_id, tenant_id);
CREATE INDEX sessions_expires_idx ON auth.sessions (expires_time);

CREATE TABLE auth.tokens (
    token_id text PRIMARY KEY,
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    name text NOT NULL,
    digest bytea NOT NULL UNIQUE,
    scopes text[] NOT NULL,
    -- NULL reaches every base of the tenant.
    base_ids text[],
    created_time timestamptz NOT NULL,
    expires_time timestamptz,
    revoked_time timestamptz,
    last_used_time timestamptz,
    FOREIGN KEY (tenant_id, user_id) REFERENCES auth.users (tenant_id, user_id) ON DELETE CASCADE
)
-- Only last_used_time changes often, and no index holds it: room on the page keeps those updates off the indexes.
WITH (fillfactor = 80);

CREATE INDEX tokens_user_idx ON auth.tokens (user_id, created_time) WHERE revoked_time IS NULL;
CREATE INDEX tokens_created_idx ON auth.tokens (created_time) WHERE revoked_time IS NULL;
