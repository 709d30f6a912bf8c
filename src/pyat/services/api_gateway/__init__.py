"""The public entry: one routing table, authentication, rate limits, CORS, request ids, and the way to each service.

Owns nothing but counters in Valkey. Calls auth, and every service through an `Upstream`. Listens on the bus:
`credential_revoked`.
"""
