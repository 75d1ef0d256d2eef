"""Clients and a receiver of a daemon on 127.0.0.1:7717, for the trials of packages and of units.

run.sh of a trial puts this file beside its scenario.py.
"""

import http.client
import http.server
import json
import threading

PATIENCE_S = 60
CLIENTS = 4
MOST_EVENTS = 20_000


class Unmet(Exception):
    """Something did not hold."""


def check(holds, why):
    if not holds:
        raise Unmet(why)


def request(method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", 7717, timeout=PATIENCE_S)
    try:
        headers = {"content-type": "application/json", "connection": "close"}
        connection.request(method, path, body and json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or "null")
    finally:
        connection.close()


class Receiver:
    """Counts what arrives, by webhook-id, and how much of it is signed."""

    def __init__(self):
        self.changed = threading.Condition()
        self.seen = {}
        self.signed = 0
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                with receiver.changed:
                    event = self.headers["webhook-id"]
                    receiver.seen[event] = receiver.seen.get(event, 0) + 1
                    receiver.signed += self.headers["webhook-signature"] is not None
                    receiver.changed.notify_all()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def wait_for(self, events):
        with self.changed:
            arrived = self.changed.wait_for(lambda: events <= self.seen.keys(), PATIENCE_S)
            check(arrived, f"{len(events - self.seen.keys())} of {len(events)} events were not delivered")


class Load:
    """Clients that post events, each on a connection of its own."""

    def __init__(self):
        self.accepted = set()
        self.faults = []
        self.changed = threading.Condition()
        self.ending = False
        self.threads = [threading.Thread(target=self.client, args=(at,)) for at in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def client(self, at):
        for number in range(MOST_EVENTS // CLIENTS):
            if self.ending:
                return
            self.hand_in(f"{at}-{number}")

    def hand_in(self, key):
        try:
            status, answer = request("POST", "/v1/events", {"type": "load.made", "data": key, "idempotency_key": key})
        except (OSError, http.client.HTTPException) as fault:
            with self.changed:
                self.faults.append(repr(fault))
            return
        with self.changed:
            if status == 202:
                self.accepted.add(answer["id"])
            else:
                self.faults.append(f"{status} {answer}")
            self.changed.notify_all()

    def wait_for(self, more):
        with self.changed:
            goal = len(self.accepted) + more
            reached = self.changed.wait_for(lambda: len(self.accepted) >= goal or self.faults, PATIENCE_S)
            check(reached and not self.faults, f"{len(self.accepted)} accepted, {self.faults[:3]}")

    def end(self):
        self.ending = True
        for thread in self.threads:
            thread.join(PATIENCE_S)
