-- Dates, exactly as pyat.formula.moments reckons with them: in UTC, and within the years 1 to 9999.

-- The instant that a whole text names; NULL where it names none.
CREATE OR REPLACE FUNCTION pyat_formula.date_of_text(given text) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    trimmed text;
    parts text[];
    year int;
    month int;
    hour int;
    clock text[];
    shift int := 0;
    made timestamptz;
BEGIN
    -- White space as JavaScript trims it.
    trimmed := btrim(given, E' \t\n\u000b\f\r\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff');
    IF trimmed !~ '^[0-9]' COLLATE "C" THEN
        RETURN NULL;
    END IF;
    parts := regexp_match(
        trimmed COLLATE "C",
        '^([0-9]{4})-([0-9]{2})-([0-9]{2})(?:(?:[Tt]|[ ]+)([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?[ ]*([Zz]|[+-][0-9]{2}:?[0-9]{2})?)?$'
    );
    IF parts IS NULL THEN
        parts := regexp_match(
            trimmed COLLATE "C",
            '^([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}|[0-9]{2})(?:,?[ ]+([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?[ ]*([AaPp][Mm])?)?$'
        );
        IF parts IS NULL THEN
            RETURN NULL;
        END IF;
        year := parts[3]::int;
        IF length(parts[3]) = 2 THEN
            year := year + CASE WHEN year <= 68 THEN 2000 ELSE 1900 END;
        END IF;
        month := parts[1]::int;
        parts[3] := parts[2];
    ELSE
        year := parts[1]::int;
        month := parts[2]::int;
    END IF;
    hour := COALESCE(parts[4]::int, 0);
    IF parts[8] ~* '^[ap]m$' COLLATE "C" THEN
        IF hour < 1 OR hour > 12 THEN
            RETURN NULL;
        END IF;
        hour := hour % 12 + CASE WHEN parts[8] ~* '^p' COLLATE "C" THEN 12 ELSE 0 END;
    ELSIF parts[8] NOT IN ('Z', 'z') THEN
        IF substr(parts[8], 2, 2)::int > 23 OR right(parts[8], 2)::int > 59 THEN
            RETURN NULL;
        END IF;
        shift := (substr(parts[8], 2, 2)::int * 60 + right(parts[8], 2)::int)
            * CASE WHEN parts[8] LIKE '+%' THEN -60 ELSE 60 END;
    END IF;
    IF year < 1 OR month < 1 OR month > 12 OR parts[3]::int < 1 OR hour > 23
        OR parts[5]::int > 59 OR parts[6]::int > 59
    THEN
        RETURN NULL;
    END IF;
    IF parts[3]::int > date_part('day', make_date(year, month, 1) + interval '1 month - 1 day') THEN
        RETURN NULL;
    END IF;
    made := (make_date(year, month, parts[3]::int) + make_time(hour, COALESCE(parts[5]::int, 0), 0)) AT TIME ZONE 'UTC';
    -- Milliseconds are cut, not rounded.
    made := made + make_interval(secs => COALESCE(parts[6]::int, 0) + shift)
        + left(COALESCE(parts[7], '') || '000', 3)::int * interval '1 millisecond';
    IF made >= '0001-01-01T00:00:00Z' AND made < '10000-01-01T00:00:00Z' THEN
        RETURN made;
    END IF;
    RETURN NULL;
END
$$;

-- An instant some units of so many milliseconds later; NULL where that leaves the years 1 to 9999.
CREATE OR REPLACE FUNCTION pyat_formula.add_ms(given timestamptz, count float8, unit_ms int8) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    added int8;
BEGIN
    -- So little is no whole millisecond, and might underflow.
    IF abs(count) < 1e-200 THEN
        RETURN given;
    END IF;
    -- So much leaves the years 1 to 9999, and might overflow.
    IF abs(count) > 1e15 THEN
        RETURN NULL;
    END IF;
    IF abs(count * unit_ms) > 315537897599999 THEN
        RETURN NULL;
    END IF;
    added := trunc(count * unit_ms)::int8;
    IF round(date_part('epoch', given) * 1000)::int8 + added BETWEEN -62135596800000 AND 253402300799999 THEN
        RETURN given + added / 1000 * interval '1 second' + added % 1000 * interval '1 millisecond';
    END IF;
    RETURN NULL;
END
$$;

-- An instant some units of so many months later, or the last day of that month; NULL where that leaves the years 1 to 9999.
CREATE OR REPLACE FUNCTION pyat_formula.add_months(given timestamptz, count float8, unit_months int) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    utc timestamp := given AT TIME ZONE 'UTC';
    added int;
BEGIN
    IF abs(trunc(count)) > 120000 THEN
        RETURN NULL;
    END IF;
    added := trunc(count)::int * unit_months;
    IF date_part('year', utc)::int * 12 + date_part('month', utc)::int - 1 + added BETWEEN 12 AND 119999 THEN
        RETURN (utc + make_interval(months => added)) AT TIME ZONE 'UTC';
    END IF;
    RETURN NULL;
END
$$;

-- How many whole months one instant is after another, toward zero.
CREATE OR REPLACE FUNCTION pyat_formula.months_between(one timestamptz, other timestamptz) RETURNS int
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    later timestamp := one AT TIME ZONE 'UTC';
    earlier timestamp := other AT TIME ZONE 'UTC';
    sign int := 1;
    months int;
    anchor timestamp;
BEGIN
    -- The day of the month decides which one moves.
    IF date_part('day', later) < date_part('day', earlier) THEN
        later := other AT TIME ZONE 'UTC';
        earlier := one AT TIME ZONE 'UTC';
        sign := -1;
    END IF;
    months := ((date_part('year', later) - date_part('year', earlier)) * 12
        + date_part('month', later) - date_part('month', earlier))::int;
    anchor := later - make_interval(months => months);
    IF anchor > earlier AND months < 0 THEN
        months := months + 1;
    ELSIF anchor < earlier AND months > 0 THEN
        months := months - 1;
    END IF;
    RETURN sign * months;
END
$$;

-- How many days from Monday to Friday there are up to a day, counted from 1 for 0001-01-01, which is a Monday.
CREATE OR REPLACE FUNCTION pyat_formula.workdays_until(given int) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT 5 * (given / 7) + least(given % 7, 5)
$$;

-- The instant that is a number of working days later; NULL beyond the years 1 to 9999. `holidays` are working days in order.
CREATE OR REPLACE FUNCTION pyat_formula.workday(given timestamptz, count float8, holidays int[]) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    utc timestamp := given AT TIME ZONE 'UTC';
    start int := utc::date - date '0001-01-01' + 1;
    wanted int;
    holiday int;
    made int;
BEGIN
    IF abs(trunc(count)) > 4000000 THEN
        RETURN NULL;
    END IF;
    IF trunc(count) = 0 THEN
        RETURN given;
    END IF;
    IF count > 0 THEN
        wanted := pyat_formula.workdays_until(start) + trunc(count)::int;
        FOREACH holiday IN ARRAY holidays LOOP
            CONTINUE WHEN holiday <= start;
            EXIT WHEN pyat_formula.workdays_until(holiday) > wanted;
            wanted := wanted + 1;
        END LOOP;
    ELSE
        wanted := pyat_formula.workdays_until(start - 1) + 1 + trunc(count)::int;
        FOR place IN REVERSE cardinality(holidays) .. 1 LOOP
            CONTINUE WHEN holidays[place] >= start;
            EXIT WHEN pyat_formula.workdays_until(holidays[place]) < wanted;
            wanted := wanted - 1;
        END LOOP;
    END IF;
    -- Before the first day there is none.
    IF wanted < 1 THEN
        RETURN NULL;
    END IF;
    made := (wanted - 1) / 5 * 7 + (wanted - 1) % 5 + 1;
    IF made > 3652059 THEN
        RETURN NULL;
    END IF;
    RETURN (utc + (made - start) * interval '1 day') AT TIME ZONE 'UTC';
END
$$;

-- How many working days there are between two instants, with both; less than 0 where the second is on an earlier day.
CREATE OR REPLACE FUNCTION pyat_formula.workdays_between(one timestamptz, other timestamptz, holidays int[]) RETURNS float8
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (CASE WHEN b < a THEN -1 ELSE 1 END * (
        pyat_formula.workdays_until(greatest(a, b)) - pyat_formula.workdays_until(least(a, b) - 1)
        - (SELECT count(*) FROM unnest(holidays) AS day WHERE day BETWEEN least(a, b) AND greatest(a, b))
    ))::float8
    FROM (SELECT
        (one AT TIME ZONE 'UTC')::date - date '0001-01-01' + 1 AS a,
        (other AT TIME ZONE 'UTC')::date - date '0001-01-01' + 1 AS b
    ) AS days
$$;
