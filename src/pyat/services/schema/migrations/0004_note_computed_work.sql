-- Bases whose computed cells have columns to fill; who fills them holds the base until `leased_until`, and renews that.
CREATE TABLE schema.computed_work (
    base_id text PRIMARY KEY,
    asked int8 NOT NULL DEFAULT 0,
    leased_until timestamptz NOT NULL DEFAULT '-infinity'
);
