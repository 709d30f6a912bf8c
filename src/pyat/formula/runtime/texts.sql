-- How many characters take two units of UTF-16.
CREATE OR REPLACE FUNCTION pyat_formula.pairs(given text) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE
        WHEN octet_length(given) < length(given) + 3 THEN 0
        ELSE length(regexp_replace(given COLLATE "C", '[^\U00010000-\U0010FFFF]+', '', 'g'))
    END
$$;

-- The part of a text between two positions in units of UTF-16, which count from 0. Half of a pair at its ends is dropped.
CREATE OR REPLACE FUNCTION pyat_formula.cut(given text, start int, stop int) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    doubled text;
    skipped int := start;
    kept int := stop;
BEGIN
    IF pyat_formula.pairs(given) > 0 THEN
        -- Here each character is a unit.
        doubled := regexp_replace(given COLLATE "C", '([\U00010000-\U0010FFFF])', '\1\1', 'g');
        skipped := start - pyat_formula.pairs(left(doubled, start)) / 2;
        kept := stop - (pyat_formula.pairs(left(doubled, stop)) + 1) / 2;
    END IF;
    RETURN substr(given, skipped + 1, greatest(kept - skipped, 0));
END
$$;

-- Where `needle` begins after some units of UTF-16, counted in those from 1; 0 where it does not.
CREATE OR REPLACE FUNCTION pyat_formula.position_of(needle text, given text, skipped int DEFAULT 0) RETURNS float8
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    units int := length(given) + pyat_formula.pairs(given);
    rest text := given;
    found int;
BEGIN
    IF skipped > units THEN
        RETURN 0;
    END IF;
    IF skipped > 0 THEN
        rest := pyat_formula.cut(given, skipped, units);
    END IF;
    found := strpos(rest COLLATE "C", needle);
    IF found = 0 THEN
        RETURN 0;
    END IF;
    RETURN units - length(rest) - pyat_formula.pairs(rest) + found + pyat_formula.pairs(left(rest, found - 1));
END
$$;

-- How often `old` occurs, without overlaps.
CREATE OR REPLACE FUNCTION pyat_formula.occurrences(given text, old text) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN old = '' THEN 0 ELSE (length(given) - length(replace(given COLLATE "C", old, ''))) / length(old) END
$$;

-- The text with one occurrence of `old` replaced, the one that `index` says; without change where there is none.
CREATE OR REPLACE FUNCTION pyat_formula.substitute_one(given text, old text, new text, index int) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    low int := 1;
    high int := length(given);
    middle int;
BEGIN
    IF index < 1 OR strpos(given COLLATE "C", old) = 0 OR pyat_formula.occurrences(given, old) < index THEN
        RETURN given;
    END IF;
    -- The shortest beginning of the text that has as many of them ends with the wanted one.
    WHILE low < high LOOP
        middle := low + (high - low) / 2;
        IF pyat_formula.occurrences(left(given, middle), old) < index THEN
            low := middle + 1;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN left(given, low - length(old)) || new || substr(given, low + 1);
END
$$;

-- How many characters `url_component` makes: three for each byte that it does not leave as it is.
CREATE OR REPLACE FUNCTION pyat_formula.url_component_length(given text) RETURNS int8
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT octet_length(given) + 2 * octet_length(regexp_replace(given COLLATE "C", '[A-Za-z0-9_.~-]+', '', 'g'))::int8
$$;

-- The text as a part of a URL; empty where that has more than 10,000,000 characters.
CREATE OR REPLACE FUNCTION pyat_formula.url_component(given text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE
        WHEN given !~ '[^A-Za-z0-9_.~-]' COLLATE "C" THEN given
        WHEN pyat_formula.url_component_length(given) > 10000000 THEN ''
        ELSE (
            SELECT string_agg(
                COALESCE(
                    found[1],
                    regexp_replace(upper(encode(convert_to(found[2], 'UTF8'), 'hex') COLLATE "C"), '(..)', '%\1', 'g')
                ),
                '' ORDER BY number
            )
            FROM regexp_matches(given COLLATE "C", '([A-Za-z0-9_.~-]+)|([^A-Za-z0-9_.~-]+)', 'g')
                WITH ORDINALITY AS parts(found, number)
        )
    END
$$;

-- The items of a list, each once, where it comes first.
CREATE OR REPLACE FUNCTION pyat_formula.unique_items(given anyarray) RETURNS anyarray
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT COALESCE(array_agg(item ORDER BY number), given[1:0])
    FROM (
        SELECT DISTINCT ON (item) item, number
        FROM unnest(given) WITH ORDINALITY AS items(item, number)
        ORDER BY item, number
    ) AS first
$$;

-- The text with each character that `other` knows as what it says; that has no character that it knows.
CREATE OR REPLACE FUNCTION pyat_formula.mapped(given text, other jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    made text := given;
    found record;
BEGIN
    FOR found IN
        SELECT one, other ->> one AS into_text
        FROM (
            SELECT DISTINCT one
            FROM string_to_table(regexp_replace(given COLLATE "C", '[\u0001-\u007F]+', '', 'g'), NULL) AS one
        ) AS every
        WHERE other ? one
    LOOP
        made := replace(made COLLATE "C", found.one, found.into_text);
    END LOOP;
    RETURN made;
END
$$;

-- The text with ς for each Σ that ends a word: after a letter that has a case, and not before one. `ignored` are the
-- characters that words go on through, `cased` the letters.
CREATE OR REPLACE FUNCTION pyat_formula.with_final_sigmas(given text, cased text, ignored text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT string_agg(
        CASE
            WHEN number = 1 THEN part
            WHEN (CASE WHEN before = '' THEN number > 2 ELSE strpos(cased COLLATE "C", right(before, 1)) > 0 END)
                AND NOT (CASE WHEN after = '' THEN NOT is_last ELSE strpos(cased COLLATE "C", left(after, 1)) > 0 END)
                THEN U&'\03C2' || part
            ELSE U&'\03A3' || part
        END,
        '' ORDER BY number
    )
    FROM (
        SELECT
            part,
            number,
            rtrim(lag(part) OVER (ORDER BY number), ignored) AS before,
            ltrim(part, ignored) AS after,
            lead(number) OVER (ORDER BY number) IS NULL AS is_last
        FROM string_to_table(given COLLATE "C", U&'\03A3') WITH ORDINALITY AS parts(part, number)
    ) AS every
$$;
