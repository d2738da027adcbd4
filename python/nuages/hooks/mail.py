"""Mail: a span `mail.send` around `EmailMessage.send`, with the backend and the number of recipients. Addresses, subject and text stay out."""

from __future__ import annotations

from typing import Any, Optional

from nuages.hooks import support

_patches = support.Patches()


def available() -> bool:
    return support.loaded("django.core.mail")


def install() -> None:
    from django.core.mail.message import EmailMessage

    _patches.replace(EmailMessage, "send", "around", (_before, _after))


def uninstall() -> None:
    _patches.undo()


def _before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    message = args[0]
    attributes: dict[str, Any] = {"nuages.kind": "mail", "mail.recipients": _count(message)}
    if getattr(message, "attachments", None):
        attributes["mail.attachments"] = len(message.attachments)
    return message, support.open_span("nuages.django", "mail.send", attributes)


def _count(message: Any) -> int:
    return sum(len(getattr(message, name, None) or ()) for name in ("to", "cc", "bcc"))


def _after(state: Any, result: Any, error: Optional[BaseException]) -> None:
    message, opened = state
    backend = getattr(message, "connection", None)
    if opened is not None and backend is not None:
        opened.span.set_attribute("mail.backend", f"{type(backend).__module__}.{type(backend).__qualname__}")
    if isinstance(result, int) and opened is not None:
        opened.span.set_attribute("mail.sent", result)
    support.close_span(opened, error)
