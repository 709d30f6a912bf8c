"""Bases, tables, fields and views: their registry, their metadata API, and every change of structure.

Owns the PostgreSQL schema `schema` (workspaces and the registry of bases); the structure of a base lies in the base's
own PostgreSQL schema and is changed through `recordstore.ddl`.
"""
