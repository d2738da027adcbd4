"""Redis: a CLIENT leaf for each command (`GET`, `SETEX`, ...) and each pipeline of redis-py, plain and asyncio, single server and cluster.

Arguments stay in the process: the statement is `SET ? ?`. Commands outside of any span (a Celery worker at its broker, health checks) and the
publishing of a task make none, so nothing appears that nobody asked for.
"""

from __future__ import annotations

from typing import Any, Optional

from nuages import _native
from nuages.hooks import support

_patches = support.Patches()


def available() -> bool:
    return support.loaded("redis")


def install() -> None:
    import redis.client

    _patches.replace(redis.client.Redis, "execute_command", "redis_command")
    _patches.replace(redis.client.Pipeline, "immediate_execute_command", "redis_command")
    _patches.replace(redis.client.Pipeline, "execute", "redis_pipeline")
    if support.loaded("redis.cluster"):
        import redis.cluster

        _patches.replace(redis.cluster.RedisCluster, "execute_command", "redis_command")
        _patches.replace(redis.cluster.ClusterPipeline, "execute", "redis_pipeline")
    if support.loaded("redis.asyncio.client"):
        from redis.asyncio import client

        _await(client.Redis, "execute_command", _before_command)
        _await(client.Pipeline, "immediate_execute_command", _before_command)
        _await(client.Pipeline, "execute", _before_pipeline)


def uninstall() -> None:
    _patches.undo()


def _await(owner: Any, name: str, before: Any) -> None:
    _patches.put(owner, name, support.awaiting(vars(owner)[name], before, _after))


def _before_command(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return _native.begin_redis(args[0], args[1:])


def _before_pipeline(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return _native.begin_redis(args[0], None)


def _after(opened: Any, result: Any, error: Optional[BaseException]) -> None:
    _native.end_redis(opened, error)
