"""The results database: `schema` declares it, `store` is the only writer, `query` the read-only door for SQL."""
