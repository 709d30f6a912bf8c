"""The Airtable records API over native bases: list, get, create, update, upsert, delete; export, import, aggregates.

Owns the rows of every base (through `recordstore`); asks `schema` for structure. Of its own it keeps the answers to
requests with an `Idempotency-Key`, for a day.
"""
