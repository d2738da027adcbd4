"""``import nuages.auto`` as a program's first line: the same as ``nuages.install()`` with a provider from the environment.

The work begins when Django, Celery or OpenTelemetry's API is imported, at once if one of them is there already.
"""

from nuages._import import install_when_needed

install_when_needed()
