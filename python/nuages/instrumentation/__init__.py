"""The official instrumentors' names over nuages' hooks; served as `opentelemetry.instrumentation.{django,psycopg2,...}`.

`instrument()` passes its options to the settings and hooks and is idempotent; libraries that are not installed are no error. The hooks
themselves go in with `nuages.install()`, which each of these calls.
"""
