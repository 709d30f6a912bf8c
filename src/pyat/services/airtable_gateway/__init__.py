"""The Airtable records API over native bases: list, get, create, update, upsert, delete.

Owns the rows of every base (through `recordstore`); asks `schema` for structure. Holds no tables of its own.
"""
