"""Bases as PostgreSQL schemas: structure and its DDL, field types, plans for reading and writing records, bulk loads.

A library without state, used by `schema` (structure) and `airtable_gateway` (rows).
"""
