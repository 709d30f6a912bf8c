-- Statements of auth. Times come from the application's clock, so that expiry has one source.

-- auth_principal --
-- Who holds the credential with SHA-256 $1 (bytea), if it is live at $2. At most one row: two unique indexes are probed.
SELECT 'token' AS kind, t.token_id AS credential_id, t.scopes, t.base_ids, t.expires_time,
       u.user_id, u.tenant_id, u.email, u.name
  FROM auth.tokens t JOIN auth.users u USING (tenant_id, user_id)
 WHERE t.digest = $1 AND t.revoked_time IS NULL AND (t.expires_time IS NULL OR t.expires_time > $2)
UNION ALL
SELECT 'session', s.session_id, NULL, NULL, s.expires_time, u.user_id, u.tenant_id, u.email, u.name
  FROM auth.sessions s JOIN auth.users u USING (tenant_id, user_id)
 WHERE s.digest = $1 AND s.expires_time > $2;

-- auth_first_tenant --
-- The tenant that was made first, or no row.
SELECT tenant_id FROM auth.tenants ORDER BY created_time, tenant_id LIMIT 1;

-- auth_insert_tenant --
-- A new tenant: id $1, name $2, time $3.
INSERT INTO auth.tenants (tenant_id, name, created_time) VALUES ($1, $2, $3);

-- auth_insert_user --
-- A new user: id $1, tenant $2, e-mail $3, folded e-mail $4, name $5, time $6. No row when the address is taken.
INSERT INTO auth.users (user_id, tenant_id, email, email_key, name, created_time)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (email_key) DO NOTHING
RETURNING user_id;

-- auth_put_password --
-- Sets the password hash $3 of user $1 in tenant $2 at time $4.
INSERT INTO auth.passwords (user_id, tenant_id, password_hash, changed_time) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id) DO UPDATE SET password_hash = excluded.password_hash, changed_time = excluded.changed_time;

-- auth_user_by_email --
-- The user with folded e-mail $1, with the password hash (NULL where there is none).
SELECT u.user_id, u.tenant_id, u.email, u.name, p.password_hash
  FROM auth.users u LEFT JOIN auth.passwords p USING (user_id)
 WHERE u.email_key = $1;

-- auth_tenant_users --
-- The users of tenant $1 in order of creation, at most $2; found by the index on (tenant_id, user_id).
SELECT user_id, email, name FROM auth.users WHERE tenant_id = $1 ORDER BY created_time, user_id LIMIT $2;

-- auth_insert_session --
-- A new session: id $1, tenant $2, user $3, digest $4, created $5, expires $6.
INSERT INTO auth.sessions (session_id, tenant_id, user_id, digest, created_time, expires_time)
VALUES ($1, $2, $3, $4, $5, $6);

-- auth_delete_session --
-- Ends session $1 of user $2; a row when it was there.
DELETE FROM auth.sessions WHERE session_id = $1 AND user_id = $2 RETURNING session_id;

-- auth_delete_expired_sessions --
-- Removes up to 1,000 sessions that ended before $1; returns the command tag.
DELETE FROM auth.sessions
 WHERE session_id IN (SELECT session_id FROM auth.sessions WHERE expires_time <= $1 LIMIT 1000 FOR UPDATE SKIP LOCKED);

-- auth_insert_token --
-- A new token for user $2: id $1, name $3, digest $4, scopes $5, base ids $6 (NULL: every base), created $7, expires $8,
-- as long as the user has fewer than $9 live ones. No row when there is no such user, the id is taken or the limit is reached.
INSERT INTO auth.tokens (token_id, tenant_id, user_id, name, digest, scopes, base_ids, created_time, expires_time)
SELECT $1, u.tenant_id, u.user_id, $3, $4, $5, $6, $7, $8
  FROM auth.users u
 WHERE u.user_id = $2
   AND (SELECT count(*) FROM auth.tokens t WHERE t.user_id = $2 AND t.revoked_time IS NULL) < $9
ON CONFLICT DO NOTHING
RETURNING token_id;

-- auth_token_id_taken --
-- Whether a token with id $1 exists, live or revoked.
SELECT EXISTS (SELECT FROM auth.tokens WHERE token_id = $1);

-- auth_user_exists --
-- Whether there is a user $1.
SELECT EXISTS (SELECT FROM auth.users WHERE user_id = $1);

-- auth_user_tokens --
-- The tokens of user $1 that are live at $2, newest first, at most 1,000.
SELECT token_id, name, user_id, scopes, base_ids, created_time, last_used_time, expires_time
  FROM auth.tokens
 WHERE user_id = $1 AND revoked_time IS NULL AND (expires_time IS NULL OR expires_time > $2)
 ORDER BY created_time DESC, token_id
 LIMIT 1000;

-- auth_all_tokens --
-- The tokens of everybody that are live at $1, newest first, at most 1,000.
SELECT token_id, name, user_id, scopes, base_ids, created_time, last_used_time, expires_time
  FROM auth.tokens
 WHERE revoked_time IS NULL AND (expires_time IS NULL OR expires_time > $1)
 ORDER BY created_time DESC, token_id
 LIMIT 1000;

-- auth_token_expiry --
-- When token $1 ends (NULL never); no row when it is revoked or unknown.
SELECT expires_time FROM auth.tokens WHERE token_id = $1 AND revoked_time IS NULL;

-- auth_revoke_token --
-- Ends token $1 at time $3; $2 limits it to tokens of that user unless it is NULL. A row when a live one was there.
UPDATE auth.tokens SET revoked_time = $3
 WHERE token_id = $1 AND ($2::text IS NULL OR user_id = $2) AND revoked_time IS NULL
RETURNING token_id;

-- auth_mark_tokens_used --
-- Writes last-used times: token ids $1, times $2 (arrays of one length); skips a token that another process wrote less
-- than $3 (interval) before.
UPDATE auth.tokens t SET last_used_time = used.at
  FROM unnest($1::text[], $2::timestamptz[]) AS used (token_id, at)
 WHERE t.token_id = used.token_id AND (t.last_used_time IS NULL OR t.last_used_time <= used.at - $3::interval);
