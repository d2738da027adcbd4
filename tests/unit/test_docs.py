"""docs/agent.md names every setting and every hook, as they are."""

from pathlib import Path

from nuages import hooks, settings

TEXT = (Path(__file__).resolve().parents[2] / "docs/agent.md").read_text()


def rows(heading):
    """The cells of the table below a heading."""
    lines = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]


def shown(default):
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        default = ", ".join(default)
    return str(default or "none")


def test_settings():
    assert rows("Settings") == [
        [
            f"`{setting.key}`",
            ", ".join(f"`{name}`" for name in setting.env) or "none",
            shown(setting.default),
            setting.help,
        ]
        for setting in settings.REGISTRY.values()
    ]


def test_hooks():
    named = [name.strip("` ") for row in rows("What is recorded") for name in row[0].split(",")]
    assert sorted(named) == sorted(hooks.NAMES)
