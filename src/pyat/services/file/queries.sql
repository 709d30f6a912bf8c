-- Statements of file. Times come from the application's clock, so that expiry has one source.

-- file_touch_content --
-- The content with hash $1, used at $2; no row where it is not known. Waits for a deletion of it to end.
UPDATE file.contents SET last_used_time = $2 WHERE content_hash = $1
RETURNING size, type, width, height, thumbnails;

-- file_put_content --
-- A content: hash $1, size $2, type $3, width $4, height $5, thumbnails $6, used at $7.
INSERT INTO file.contents (content_hash, size, type, width, height, thumbnails, created_time, last_used_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
ON CONFLICT (content_hash) DO UPDATE SET last_used_time = excluded.last_used_time, type = excluded.type,
    width = excluded.width, height = excluded.height, thumbnails = excluded.thumbnails;

-- file_old_contents --
-- Up to $2 contents that were last used, or looked at, before $1.
SELECT content_hash FROM file.contents WHERE last_used_time < $1 ORDER BY last_used_time LIMIT $2;

-- file_mark_contents --
-- The contents of $1 were looked at, and are used, at $2.
UPDATE file.contents SET last_used_time = $2 WHERE content_hash = ANY($1);

-- file_lock_content --
-- Locks content $1 where it is still unused since $2, and nobody else works with it; its thumbnails.
SELECT thumbnails FROM file.contents WHERE content_hash = $1 AND last_used_time < $2 FOR UPDATE SKIP LOCKED;

-- file_delete_content --
DELETE FROM file.contents WHERE content_hash = $1;

-- file_bases --
-- The bases that can have attachments.
SELECT n.nspname AS base_id
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relname = 'base_attachments' AND c.relkind = 'r'
 ORDER BY n.nspname;

-- file_insert_fetches --
-- Files to be fetched from time $5 on, for base $2: attachments $1, URLs $3, filenames $4 (text[] each).
INSERT INTO file.fetches (attachment_id, base_id, url, filename, due_time, created_time)
SELECT f.attachment_id, $2, f.url, f.filename, $5, $5
  FROM unnest($1::text[], $3::text[], $4::text[]) AS f(attachment_id, url, filename);

-- file_take_fetches --
-- Up to $3 files that are due at $1, the longest waiting first, leased until $2.
UPDATE file.fetches f SET attempts = f.attempts + 1, due_time = $2
  FROM (SELECT attachment_id FROM file.fetches WHERE due_time <= $1
         ORDER BY due_time LIMIT $3 FOR UPDATE SKIP LOCKED) due
 WHERE f.attachment_id = due.attachment_id
RETURNING f.attachment_id, f.base_id, f.url, f.filename, f.attempts;

-- file_put_fetch_off --
-- The fetch of attachment $1, taken as attempt $2, is due at $3: a longer lease, or the next try.
UPDATE file.fetches SET due_time = $3 WHERE attachment_id = $1 AND attempts = $2 RETURNING true;

-- file_give_back_fetch --
-- The fetch of attachment $1, taken as attempt $2, is due again at $3 as if nobody had taken it.
UPDATE file.fetches SET due_time = $3, attempts = attempts - 1 WHERE attachment_id = $1 AND attempts = $2;

-- file_end_fetch --
-- The fetch of attachment $1, taken as attempt $2, is over; no row where another worker has it.
DELETE FROM file.fetches WHERE attachment_id = $1 AND attempts = $2 RETURNING true;

-- file_delete_fetches --
-- Nobody waits for these attachments any more.
DELETE FROM file.fetches WHERE attachment_id = ANY($1);

-- file_count_fetches --
-- How many files are yet to be fetched.
SELECT count(*) FROM file.fetches;

-- file_insert_upload --
-- Upload $1 to base $2 by user $3: name $4, declared type $5, length $6, time $7, ends by itself at $8.
INSERT INTO file.uploads (upload_id, base_id, user_id, filename, content_type, length, created_time, expires_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- file_upload --
-- Upload $1 to base $2 by user $3.
SELECT upload_id, base_id, user_id, filename, content_type, length, position, attachment_id, expires_time
  FROM file.uploads WHERE upload_id = $1 AND base_id = $2 AND user_id = $3;

-- file_move_upload --
-- Upload $1 stands at $2 and goes on by $3; no row where it stands elsewhere. It ends by itself at $4.
UPDATE file.uploads SET position = position + $3, expires_time = $4
 WHERE upload_id = $1 AND position = $2 AND attachment_id IS NULL AND position + $3 <= length
RETURNING true;

-- file_insert_part --
INSERT INTO file.upload_parts (upload_id, start, size, name) VALUES ($1, $2, $3, $4);

-- file_parts --
-- The parts of upload $1, in order.
SELECT name, size FROM file.upload_parts WHERE upload_id = $1 ORDER BY start;

-- file_finish_upload --
-- Upload $1 has become attachment $2; no row where it had become one before.
UPDATE file.uploads SET attachment_id = $2 WHERE upload_id = $1 AND attachment_id IS NULL RETURNING true;

-- file_delete_parts --
DELETE FROM file.upload_parts WHERE upload_id = $1;

-- file_delete_upload --
DELETE FROM file.uploads WHERE upload_id = $1 AND base_id = $2 AND user_id = $3 RETURNING true;

-- file_expired_uploads --
-- Up to $2 uploads that ended by themselves before $1.
SELECT upload_id FROM file.uploads WHERE expires_time < $1 ORDER BY expires_time LIMIT $2;

-- file_delete_expired_upload --
DELETE FROM file.uploads WHERE upload_id = $1 AND expires_time < $2 RETURNING true;
