-- How values become one another, exactly as pyat.formula.values does it.

-- The number that the whole trimmed text is, as a plain decimal; 0 for a blank and an empty text, else NaN.
CREATE OR REPLACE FUNCTION pyat_formula.number_of_text(given text) RETURNS float8
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    trimmed text;
BEGIN
    IF given IS NULL OR given = '' THEN
        RETURN 0;
    END IF;
    -- White space as JavaScript trims it.
    trimmed := btrim(given, E' \t\n\u000b\f\r\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff');
    IF trimmed !~ '^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)$' COLLATE "C" THEN
        RETURN 'NaN';
    END IF;
    -- Up to 300 characters nothing overflows or underflows.
    IF length(trimmed) <= 300 OR pg_input_is_valid(trimmed, 'float8') THEN
        RETURN trimmed::float8;
    END IF;
    RETURN (CASE WHEN trimmed LIKE '-%' THEN '-' ELSE '' END
        || CASE WHEN trimmed ~ '^[+-]?0*(?:\.|$)' COLLATE "C" THEN '0' ELSE 'Infinity' END)::float8;
END
$$;

-- A number as JavaScript writes it: the shortest text that reads back the same.
CREATE OR REPLACE FUNCTION pyat_formula.number_text(given float8) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    magnitude float8 := abs(given);
    written text;
    digits text;
    shorter text;
    point int;
    sign text := CASE WHEN given < 0 THEN '-' ELSE '' END;
BEGIN
    IF given = 0 THEN
        RETURN '0';
    END IF;
    IF (magnitude >= 1e-4 AND magnitude < 1e15) OR magnitude >= 'Infinity' THEN
        RETURN given::text;
    END IF;
    written := magnitude::text;
    digits := replace(split_part(written, 'e', 1), '.', '');
    point := split_part(written, 'e', 2)::int + 1;
    IF magnitude >= 9007199254740992 AND magnitude < 1e40 THEN
        -- PostgreSQL leaves out the decimal that lies in the middle of two numbers; whoever reads evenly takes it.
        FOR count IN 1 .. length(digits) - 1 LOOP
            FOR step IN 0 .. 1 LOOP
                shorter := (left(digits, count)::int8 + step)::text;
                IF (shorter || 'e' || point - count)::float8 = magnitude THEN
                    point := point + length(shorter) - count;
                    digits := rtrim(shorter, '0');
                    EXIT;
                END IF;
            END LOOP;
            EXIT WHEN length(digits) <= count;
        END LOOP;
    END IF;
    IF point > -6 AND point <= 0 THEN
        RETURN sign || '0.' || repeat('0', -point) || digits;
    END IF;
    IF point > 0 AND point <= 21 THEN
        -- There are digits after the point where 17 of them do not reach it.
        RETURN sign || CASE
            WHEN point >= length(digits) THEN rpad(digits, point, '0')
            ELSE left(digits, point) || '.' || substr(digits, point + 1)
        END;
    END IF;
    RETURN sign || left(digits, 1) || CASE WHEN length(digits) > 1 THEN '.' || substr(digits, 2) ELSE '' END
        || 'e' || CASE WHEN point > 1 THEN '+' ELSE '-' END || abs(point - 1);
END
$$;

-- The texts of numbers, joined; nulls are left out.
CREATE OR REPLACE FUNCTION pyat_formula.numbers_text(given float8[], separator text DEFAULT ', ') RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT array_to_string(ARRAY(SELECT pyat_formula.number_text(item) FROM unnest(given) AS item), separator)
$$;

-- An instant as `2024-03-05T14:07:09.045Z`.
CREATE OR REPLACE FUNCTION pyat_formula.moment_text(given timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT to_char(given AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- The texts of instants, joined; nulls are left out.
CREATE OR REPLACE FUNCTION pyat_formula.moments_text(given timestamptz[], separator text DEFAULT ', ') RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT array_to_string(
        ARRAY(SELECT to_char(item AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') FROM unnest(given) AS item),
        separator
    )
$$;

-- The text of a rich text: without the marks of headings, lists, quotes, emphasis, code and links, and without its last line break.
CREATE OR REPLACE FUNCTION pyat_formula.plain_text(given text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    found text := regexp_replace(given, '\n$', '');
BEGIN
    IF found !~ '[\\*_~`#>\[!+0-9-]' THEN
        RETURN found;
    END IF;
    found := regexp_replace(found, '^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[*+-][ \t]+(?:\[[ xX]\][ \t]+)?|[0-9]{1,9}[.)][ \t]+)', '', 'gn');
    found := regexp_replace(found, '!?\[([^\]\n]*)\]\(([^()\n]*)\)', '\1', 'g');
    found := regexp_replace(found, '(\*\*|__|~~|`)([^\n]+?)\1', '\2', 'g');
    found := regexp_replace(found, '(?<![\w\\*])[*_]([^*_\n]+)[*_](?!\w)', '\1', 'g');
    RETURN regexp_replace(found, '\\([\\`*_{}\[\]()#+.!~>-])', '\1', 'g');
END
$$;

-- A text whose bytes, in the collation "C", are in the order of UTF-16's units: what lies above the surrogates comes last.
CREATE OR REPLACE FUNCTION pyat_formula.unit_order(given text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE
        WHEN given ~ '[\uE000-\uFFFF\U0010FFFF]' THEN
            regexp_replace(replace(given, U&'\+10FFFF', U&'\+10FFFF\0001'), '([\uE000-\uFFFF])', U&'\+10FFFF' || '\1', 'g')
        ELSE given
    END
$$;
