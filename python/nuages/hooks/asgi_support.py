"""What the hooks of ASGI applications share: how a request ends before its answer is complete."""

from __future__ import annotations

import asyncio
from typing import Any


def watched(request: Any, receive: Any) -> Any:
    """`receive`, noting that the client went away before the answer was complete."""

    async def traced_receive() -> Any:
        message = await receive()
        if isinstance(message, dict) and message.get("type") in ("http.disconnect", "websocket.disconnect"):
            request.lost("http.client_disconnected")
        return message

    return traced_receive


def ended_by(request: Any, error: BaseException) -> None:
    """An exception that left the application."""
    if isinstance(error, asyncio.CancelledError):  # nobody waits for the answer: no failure of the application
        request.lost("asyncio.cancelled")
    else:
        request.failed(error)
