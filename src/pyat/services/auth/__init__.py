"""Credentials: accounts, password login and sessions, personal access tokens with scopes and base lists.

Owns the PostgreSQL schema `auth`. Publishes on the bus: `credential_revoked` (the credential's id).
"""
