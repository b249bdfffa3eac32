"""A power cut under load: nothing that was acknowledged is lost, nothing is there twice."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable

import urllib3

from tests.support import RunningServer, eventually

BATCH = 10
BATCHES = 3_000
"""Of each of the three senders: together below the 100,000 contexts that one answer holds."""


class Sender(threading.Thread):
    """Sends batches with one idempotency key each, until told to stop; a batch without an answer is sent again."""

    def __init__(self, server: RunningServer, token: dict[str, str], number: int) -> None:
        super().__init__(daemon=True)
        self.server, self.token, self.number = server, token, number
        self.acknowledged: list[int] = []
        self.attempted = 0
        self.stop = threading.Event()
        self.http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=1, read=5), retries=False)
        self.bearer = ""

    def run(self) -> None:
        while not self.stop.wait(0.005) and self.attempted < BATCHES:
            batch = self.attempted
            self.attempted += 1
            while not self._send(batch):
                if self.stop.is_set():
                    return
                time.sleep(0.05)
            self.acknowledged.append(batch)

    def _send(self, batch: int) -> bool:
        try:
            if not self.bearer:
                answer = self.http.request(
                    "POST", f"{self.server.url}/identity/resources/auth/v1/api-token",
                    json={"clientId": self.token["client_id"], "secret": self.token["secret"]},
                )  # fmt: skip
                self.bearer = answer.json()["accessToken"]
            answer = self.http.request(
                "POST", f"{self.server.url}/export",
                headers={"Authorization": f"Bearer {self.bearer}", "Idempotency-Key": f"{self.number}-{batch}"},
                json={"messages": [
                    {"arcClass": "CRASH", "contextId": f"{self.number}-{batch}-{i}", "exportTimestamp": 1700000000,
                     "action": "ADD", "message": {"seen": 1, "batch": batch}}
                    for i in range(BATCH)
                ]},
            )  # fmt: skip
        except (urllib3.exceptions.HTTPError, KeyError, ValueError):
            return False
        return answer.status == 200


def test_acknowledged_messages_survive_kill_9_exactly_once(start_server: Callable[..., RunningServer]) -> None:
    """The whole process group is killed five times under load. ADD would show a message that was stored twice."""
    server = start_server()
    token = server.token()
    senders = [Sender(server, token, number) for number in range(3)]
    for sender in senders:
        sender.start()

    def wait_for_more(batches: int) -> None:
        def done() -> int:
            return sum(len(sender.acknowledged) for sender in senders)

        goal = done() + batches
        eventually(lambda: done() >= goal, why="the senders do not get on")

    moments = random.Random(7)
    for _ in range(5):
        wait_for_more(moments.randrange(30, 200))
        server.kill()
        server.start()
    wait_for_more(30)
    for sender in senders:
        sender.stop.set()
    for sender in senders:
        sender.join()

    acknowledged = {f"{s.number}-{batch}-{i}" for s in senders for batch in s.acknowledged for i in range(BATCH)}
    assert len(acknowledged) > 1000
    http, headers = urllib3.PoolManager(), {"Authorization": f"Bearer {senders[0].bearer}"}

    def stored() -> dict[str, object]:
        answer = http.request(
            "POST", f"{server.url}/get_ingested_data", headers=headers,
            json={"context_class": "CRASH", "start_time": 1699999999, "end_time": 1700000001, "segment": {}, "sampling_threshold": 100000},
        )  # fmt: skip
        return {item["contextId"]: item["message"] for item in json.loads(answer.data)["response_data"]["crcs"]}

    eventually(lambda: acknowledged <= stored().keys(), why="acknowledged messages are missing")
    twice = {identity for identity, message in stored().items() if message["seen"] != 1}  # type: ignore[index]
    assert not twice
