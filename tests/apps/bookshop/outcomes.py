"""outcomes.py: sends one of every kind of task and prints how each ended, as JSON: the same lines are wanted with and without tracing."""

import json
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bookshop.settings")

import django

django.setup()

from catalog import tasks  # noqa: E402
from celery import chain, chord, group  # noqa: E402

KINDS = {
    "result": lambda: tasks.add.delay(1, 2),
    "error": lambda: tasks.explode.delay("loud"),
    "retry": lambda: tasks.flaky.delay(),
    "retries": lambda: tasks.stubborn.delay(),
    "SystemExit": lambda: tasks.leave.delay("SystemExit"),
    "os._exit": lambda: tasks.leave.delay("os._exit"),
    "soft time limit": lambda: tasks.patient.apply_async(soft_time_limit=1),
    "hard time limit": lambda: tasks.endless.apply_async(time_limit=1),
    "chain": lambda: chain(tasks.add.s(1, 2), tasks.add.s(3))(),
    "group": lambda: group(tasks.add.s(1, 2), tasks.add.s(3, 4))(),
    "chord": lambda: chord([tasks.add.s(1, 2), tasks.add.s(3, 4)], tasks.total.s())(),
    "failing chain": lambda: chain(tasks.explode.s("loud"), tasks.add.s(3))().parent,
    "countdown": lambda: tasks.add.apply_async((1, 2), countdown=0.1),
    "headers": lambda: tasks.add.apply_async((1, 2), headers={"x-mine": "1"}),
}


def outcome(result):
    value = result.get(timeout=60, propagate=False)
    text = re.sub(r" Job: \d+", "", str(value))  # the pool's running number
    return [getattr(result, "state", "GROUP"), type(value).__name__, text]


sent = {name: send() for name, send in KINDS.items()}
for name, result in sent.items():
    print(json.dumps([name, outcome(result)]), flush=True)
