-- Contents of files by hash, files to be fetched, uploads under way. Attachments themselves lie in the schemas of bases.

CREATE SCHEMA file;

CREATE TABLE file.contents (
    -- SHA-256 of the bytes, hexadecimal; also the name in the object store.
    content_hash text COLLATE "C" PRIMARY KEY,
    size int8 NOT NULL,
    type text NOT NULL,
    width int4,
    height int4,
    -- By name: {"width", "height", "size", "type"}.
    thumbnails jsonb NOT NULL,
    created_time timestamptz NOT NULL,
    -- When an attachment last came to refer to it.
    last_used_time timestamptz NOT NULL
);

CREATE INDEX contents_used_idx ON file.contents (last_used_time);

CREATE TABLE file.fetches (
    attachment_id text COLLATE "C" PRIMARY KEY,
    base_id text NOT NULL,
    url text NOT NULL,
    filename text NOT NULL,
    -- How often a worker took it. Only the worker that took it last may end it.
    attempts int4 NOT NULL DEFAULT 0,
    -- When it may be taken: while a worker has it, the end of that worker's lease.
    due_time timestamptz NOT NULL,
    created_time timestamptz NOT NULL
)
WITH (fillfactor = 70);

CREATE INDEX fetches_due_idx ON file.fetches (due_time);

CREATE TABLE file.uploads (
    upload_id text COLLATE "C" PRIMARY KEY,
    base_id text NOT NULL,
    user_id text NOT NULL,
    filename text NOT NULL,
    content_type text,
    length int8 NOT NULL,
    -- How much has arrived.
    position int8 NOT NULL DEFAULT 0,
    -- The attachment it became.
    attachment_id text,
    created_time timestamptz NOT NULL,
    expires_time timestamptz NOT NULL
);

CREATE INDEX uploads_expires_idx ON file.uploads (expires_time);

CREATE TABLE file.upload_parts (
    upload_id text COLLATE "C" NOT NULL REFERENCES file.uploads ON DELETE CASCADE,
    start int8 NOT NULL,
    size int8 NOT NULL,
    -- Its name in the object store.
    name text NOT NULL,
    PRIMARY KEY (upload_id, start)
);
