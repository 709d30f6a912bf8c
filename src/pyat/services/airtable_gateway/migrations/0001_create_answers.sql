-- Answers of writes that came with a key, so that a repeat gets the first answer and writes nothing.
-- A row is written in the transaction of the write itself: it is there exactly when the write is.

CREATE SCHEMA airtable_gateway;

CREATE TABLE airtable_gateway.answers (
    user_id text COLLATE "C" NOT NULL,
    base_id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    -- SHA-256 of the request: the same key with another request is a mistake of the client.
    digest bytea NOT NULL,
    answer bytea NOT NULL,
    answered_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, base_id, key)
);

CREATE INDEX answers_answered_at ON airtable_gateway.answers (answered_at);
