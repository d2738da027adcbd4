"""``import nuages.auto`` as a program's first line: the same as ``nuages.install()`` with a provider from the environment."""

from nuages._install import install

install(automatic=True)
