-- Statements on the relations of airtable_gateway itself; those on bases are built by `recordstore`.

-- lock_answer --
-- Whether no other transaction is answering the request of user $1 to base $2 with the key $3; held until this one ends.
SELECT pg_try_advisory_xact_lock(hashtextextended($1 || ' ' || $2 || ' ' || $3, 1));

-- find_answer --
-- The digest and the answer to the request of user $1 to base $2 with the key $3, where it is younger than $4 (interval).
SELECT digest, answer FROM airtable_gateway.answers
 WHERE user_id = $1 AND base_id = $2 AND key = $3 AND answered_at > now() - $4::interval;

-- keep_answer --
-- Keeps the answer $5 to the request with digest $4 of user $1 to base $2 with the key $3, and forgets some that are
-- older than $6 (interval): more than one for each new one, so that the relation does not grow with time.
WITH old AS (
    SELECT ctid FROM airtable_gateway.answers
     WHERE answered_at <= now() - $6::interval AND (user_id, base_id, key) <> ($1, $2, $3)
     ORDER BY answered_at LIMIT 20 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM airtable_gateway.answers a USING old WHERE a.ctid = old.ctid
)
INSERT INTO airtable_gateway.answers (user_id, base_id, key, digest, answer, answered_at)
VALUES ($1, $2, $3, $4, $5, now())
    ON CONFLICT (user_id, base_id, key)
    DO UPDATE SET digest = EXCLUDED.digest, answer = EXCLUDED.answer, answered_at = EXCLUDED.answered_at;
