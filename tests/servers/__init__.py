"""Real servers for the tests: PostgreSQL, MariaDB, and moto's KMS and DynamoDB over HTTP."""

from __future__ import annotations
