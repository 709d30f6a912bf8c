"""Import of delimited text files: sniff, sample, infer or match, import.

    source = sniff(path)
    plans = infer(source, take_sample(source))
    report = await import_as_table(database, base_id, name, source, plans, user_id=…, now=…)

Reading order: `source` (chunks of columns), `sniff`, `sample`, `formats` (numbers and dates as people write them),
`infer`, `convert` (text to COPY's items), `load` (one COPY), `importing` (structure and rows together). Formula-like text is data and is never interpreted.
"""
