"""SIGKILL while spans arrive, again and again: every acknowledged span is found after the restart, and no span is stored twice."""

from __future__ import annotations

import threading

import requests
from server_fixture import (  # noqa: F401
    PATIENCE,
    Server,
    make_server,
    new_id,
    nuages_server,
    otlp_request,
)

ROUNDS = 8
CLIENTS = 3
SERVICE = "crash"


class Client(threading.Thread):
    """Sends requests of one to five spans as fast as they are acknowledged, until the server is gone."""

    def __init__(self, server: Server, trace: bytes, progress: threading.Semaphore) -> None:
        super().__init__(daemon=True)
        self.url = f"{server.http}/v1/traces"
        self.trace = trace
        self.progress = progress
        self.acknowledged: set[bytes] = set()
        self.sent: set[bytes] = set()

    def run(self) -> None:
        session = requests.Session()
        count = 0
        while True:
            spans = [new_id(8) for _ in range(1 + count % 5)]
            body = otlp_request(SERVICE, self.trace, spans).SerializeToString()
            self.sent.update(spans)
            try:
                response = session.post(
                    self.url, data=body, headers={"Content-Type": "application/x-protobuf"}, timeout=PATIENCE
                )
            except requests.RequestException:
                return
            assert response.status_code == 200, response.content
            self.acknowledged.update(spans)
            count += 1
            self.progress.release()


def test_sigkill_during_ingest(nuages_server: Server) -> None:  # noqa: F811
    clients: list[Client] = []
    for kill_round in range(ROUNDS):
        progress = threading.Semaphore(0)
        running = [Client(nuages_server, new_id(16), progress) for _ in range(CLIENTS)]
        for client in running:
            client.start()
        # Different moments: within the first segment, while blocks are inserted, after several.
        for _ in range(20 + 150 * kill_round):
            assert progress.acquire(timeout=PATIENCE)
        nuages_server.kill()
        for client in running:
            client.join(PATIENCE)
        clients += running
        if kill_round % 3 == 2:  # and once more in the middle of starting, before the log is replayed
            nuages_server.start(until="listening ui")
            nuages_server.kill()
        nuages_server.start()
    found: set[bytes] = set()
    for client in clients:
        stored = nuages_server.trace_span_ids(client.trace)
        assert client.acknowledged <= stored, f"{len(client.acknowledged - stored)} acknowledged spans are lost"
        assert stored <= client.sent
        found |= stored
    assert len(found) > 1000
    # A request that was cut off may or may not be stored, but whatever is stored is there once.
    assert nuages_server.stored_spans(SERVICE) == len(found)
    assert nuages_server.stop() == 0
    assert not list((nuages_server.data / "wal").glob("*.wal"))
    assert not list((nuages_server.data / "wal" / "quarantine").glob("*"))
