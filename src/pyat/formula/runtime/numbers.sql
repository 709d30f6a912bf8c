-- Arithmetic on doubles as IEEE 754 has it. PostgreSQL raises errors where it overflows or underflows, and for x/0.

CREATE OR REPLACE FUNCTION pyat_formula.add(a float8, b float8) RETURNS float8
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    quarter float8;
    larger float8;
BEGIN
    IF (abs(a) < 8e307 AND abs(b) < 8e307) OR abs(a) >= 'Infinity' OR abs(b) >= 'Infinity' THEN
        RETURN a + b;
    END IF;
    larger := CASE WHEN abs(a) < abs(b) THEN b ELSE a END;
    IF least(abs(a), abs(b)) < 1e280 THEN
        RETURN larger;
    END IF;
    -- Scaled by powers of two, nothing is lost: 2^1022 is where the sum leaves the numbers.
    quarter := a / 4 + b / 4;
    IF abs(quarter) >= 4.49423283715579e+307 THEN
        RETURN CASE WHEN quarter > 0 THEN 'Infinity' ELSE '-Infinity' END;
    END IF;
    RETURN quarter * 4;
END
$$;

CREATE OR REPLACE FUNCTION pyat_formula.subtract(a float8, b float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT pyat_formula.add(a, -b) $$;

-- The power of two, as its exponent, that brings a number between 2^-474 and 2^424: -600, 0 or 600.
CREATE OR REPLACE FUNCTION pyat_formula.scale_of(given float8) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN abs(given) >= power(2::float8, 400) THEN -600 WHEN abs(given) < power(2::float8, -400) THEN 600 ELSE 0 END
$$;

-- Whether a number of `part` times 2^`exponent` is more than the largest double (1), rounds to zero (-1), or neither (0).
CREATE OR REPLACE FUNCTION pyat_formula.range_of(part float8, exponent int) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE exponent
        WHEN 600 THEN CASE WHEN part >= power(2::float8, 424) THEN 1 ELSE 0 END
        WHEN 1200 THEN CASE WHEN part >= power(2::float8, -176) THEN 1 ELSE 0 END
        WHEN -600 THEN CASE WHEN part <= power(2::float8, -475) THEN -1 ELSE 0 END
        WHEN -1200 THEN CASE WHEN part <= power(2::float8, 125) THEN -1 ELSE 0 END
        ELSE 0
    END
$$;

CREATE OR REPLACE FUNCTION pyat_formula.multiply(a float8, b float8) RETURNS float8
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    scale_a int;
    scale_b int;
    found int;
BEGIN
    IF a = 0 OR b = 0 OR abs(a) >= 'Infinity' OR abs(b) >= 'Infinity' THEN
        RETURN a * b;
    END IF;
    scale_a := pyat_formula.scale_of(a);
    scale_b := pyat_formula.scale_of(b);
    found := pyat_formula.range_of(abs(a * power(2::float8, scale_a) * (b * power(2::float8, scale_b))), -scale_a - scale_b);
    IF found > 0 THEN
        RETURN CASE WHEN (a < 0) = (b < 0) THEN 'Infinity' ELSE '-Infinity' END;
    END IF;
    IF found < 0 THEN
        RETURN CASE WHEN (a < 0) = (b < 0) THEN '0' ELSE '-0' END;
    END IF;
    RETURN a * b;
END
$$;

CREATE OR REPLACE FUNCTION pyat_formula.divide(a float8, b float8) RETURNS float8
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    scale_a int;
    scale_b int;
    found int;
BEGIN
    IF b = 0 THEN
        IF a = 0 OR a = 'NaN' THEN
            RETURN 'NaN';
        END IF;
        RETURN CASE WHEN (a < 0) = (b::text LIKE '-%') THEN 'Infinity' ELSE '-Infinity' END;
    END IF;
    IF a = 0 OR abs(a) >= 'Infinity' OR abs(b) >= 'Infinity' THEN
        RETURN a / b;
    END IF;
    scale_a := pyat_formula.scale_of(a);
    scale_b := pyat_formula.scale_of(b);
    found := pyat_formula.range_of(abs(a * power(2::float8, scale_a) / (b * power(2::float8, scale_b))), scale_b - scale_a);
    IF found > 0 THEN
        RETURN CASE WHEN (a < 0) = (b < 0) THEN 'Infinity' ELSE '-Infinity' END;
    END IF;
    IF found < 0 THEN
        RETURN CASE WHEN (a < 0) = (b < 0) THEN '0' ELSE '-0' END;
    END IF;
    RETURN a / b;
END
$$;

-- The numbers added to a start, from the first to the last; nulls are left out.
CREATE OR REPLACE FUNCTION pyat_formula.sum_of(given float8[], start float8) RETURNS float8
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    total float8 := start;
    item float8;
BEGIN
    IF given IS NULL THEN
        RETURN total;
    END IF;
    FOREACH item IN ARRAY given LOOP
        IF item IS NOT NULL THEN
            total := CASE WHEN abs(total) < 8e307 AND abs(item) < 8e307 THEN total + item ELSE pyat_formula.add(total, item) END;
        END IF;
    END LOOP;
    RETURN total;
END
$$;

-- The remainder, with the sign of the dividend, exactly: by subtracting the divisor times powers of two.
CREATE OR REPLACE FUNCTION pyat_formula.mod(a float8, b float8) RETURNS float8
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    rest float8 := abs(a);
    divisor float8 := abs(b);
    step float8 := abs(b);
BEGIN
    IF b = 0 OR rest >= 'Infinity' OR b = 'NaN' THEN
        RETURN 'NaN';
    END IF;
    IF rest < divisor THEN
        RETURN a;
    END IF;
    -- Half of the smallest number would be an error.
    WHILE rest - step >= step LOOP
        step := step * 2;
    END LOOP;
    LOOP
        IF rest >= step THEN
            rest := rest - step;
        END IF;
        EXIT WHEN step = divisor;
        step := step / 2;
    END LOOP;
    RETURN CASE WHEN a < 0 THEN -rest ELSE rest END;
END
$$;

-- The number in a text: its digits and decimal point, with a minus sign that stands before them.
CREATE OR REPLACE FUNCTION pyat_formula.value_of(given text) RETURNS float8
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    digits text;
    found float8;
BEGIN
    IF given IS NULL OR given = '' THEN
        RETURN 0;
    END IF;
    digits := substring(regexp_replace(given, '[^0-9.]', '', 'g') FROM '^[0-9]*\.?[0-9]*');
    IF digits IS NULL OR btrim(digits, '.') = '' THEN
        RETURN 'NaN';
    END IF;
    found := pyat_formula.number_of_text(digits);
    RETURN CASE WHEN given ~ '^[ \t\n\r\f\v]*[^A-Za-z0-9_ \t\n\r\f\v.,-]?[ \t\n\r\f\v]*-' THEN -found ELSE found END;
END
$$;
