"""Import of delimited text files: sniff, sample, infer or match, load.

    source = sniff(path)
    plans = infer(source, take_sample(source))
    report = await load(connection, source, base_id, table, plans, user_id=…, now=…)

Reading order: `source` (chunks of columns), `sniff`, `sample`, `formats` (numbers and dates as people write them),
`infer`, `convert` (text to COPY's items), `load`. Formula-like text is data and is never interpreted.
"""
