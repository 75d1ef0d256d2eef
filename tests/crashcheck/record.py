#!/usr/bin/env python3
"""The workload for `crashcheck.py record`: loads a real outboxd, kills it, starts it again.

Each event whose 202 came back gets the next number and a line in the manifest
(`SIDE/manifest`, outside the data directory), then `ACK n` goes to $CRASHCHECK_ACK. So do
acknowledged actions, and what a GET has shown, which a crash may not take back either.

    record.py --bin OUTBOXD --data DIR --side DIR --seed N --workload plain|cleaning|again
"""

import argparse
import json
import os
import random
import shutil
import socket
import threading
import time

from outboxd import Broken, Client, Daemon, Gone, Receiver, endpoint_tables, endpoints_of

CLIENTS = 4
OPAQUE = "image/x-test"
FUTURE = "2099-01-01T00:00:00Z"
PHASE_DEADLINE = 120.0


class Manifest:
    """What was acknowledged, in order."""

    def __init__(self, side, ack, acked):
        self.lock = threading.Lock()
        self.path = os.path.join(side, "manifest")
        self.count, self.events = acked, []
        kept = list(self.kept(acked)) if acked else []
        self.bodies = open(os.path.join(side, "bodies"), "ab")
        self.file = open(self.path, "w")
        for entry in kept:
            self.write(entry)
        self.file.flush()
        self.ack = os.open(ack, os.O_WRONLY | os.O_APPEND)
        if acked:
            os.write(self.ack, b"ACK %d\n" % acked)

    def kept(self, acked):
        """What holds of an earlier recording that was cut at `acked`."""
        with open(self.path) as f:
            for entry in map(json.loads, f):
                if entry["n"] <= acked:
                    yield entry
                elif entry.get("begun", acked + 1) <= acked:
                    # It may have been done, and nobody was told.
                    yield dict(entry, n=None)

    def write(self, entry):
        self.file.write(json.dumps(entry) + "\n")
        if entry["kind"] == "event" and not entry["duplicate"]:
            self.events.append(entry)

    def add(self, entries):
        with self.lock:
            for entry in entries:
                self.count += 1
                if entry["kind"] == "event":
                    # Beside the manifest, so that a verifier reads only those it wants.
                    body = entry.pop("body")
                    entry = dict(entry, at=self.bodies.tell(), length=len(body))
                    self.bodies.write(body)
                self.write(dict(entry, n=self.count))
            self.file.flush()
            os.write(self.ack, b"ACK %d\n" % self.count)
            return self.count


class Load:
    """One client's stream of events, from a seed."""

    def __init__(self, name, seed, cleaning):
        self.name, self.random, self.made = name, random.Random(f"{seed}/{name}"), 0
        self.cleaning, self.keyed = cleaning, []
        # Requests whose fate is unknown: sent again, as an app with a key would.
        self.unknown = []

    def text(self, low, high):
        return "".join(self.random.choices("abcdefgh é\U0001f600", k=self.random.randint(low, high)))

    def event(self, keyed=None):
        """A JSON event: its members, `data` as it is to be written."""
        dice, self.made = self.random.random(), self.made + 1
        event_type = self.random.choice(["order.created", "order.created", "order.paid", "slow.one",
                                         "bill.sent", "note.one", "nobody.wants"])
        if self.random.random() < 0.04:
            event_type = "order.late"
        size = (100, 1500) if dice < 0.9 else (10_000, 60_000)
        if self.cleaning and event_type.startswith("order.c"):
            size = (20_000, 60_000)
        pad = json.dumps(self.text(*size), ensure_ascii=self.random.random() < 0.5)
        event = {"type": event_type, "data": f'{{"made" : {self.made},\t"pad":{pad} }}'}
        if keyed or (keyed is None and self.random.random() < 0.35):
            event["idempotency_key"] = f"{self.name}-{self.made}"
        if self.random.random() < 0.05:
            event["deliver_at"] = FUTURE
        return event

    def request(self):
        """What to send next: target, content type, body, events."""
        if self.unknown:
            return self.unknown.pop(0)
        dice = self.random.random()
        if self.keyed and dice < 0.06:
            return self.random.choice(self.keyed)
        if dice < 0.18:
            events = [self.event(keyed=False) for _ in range(self.random.randint(2, 16))]
            if self.random.random() < 0.5:
                events[0]["idempotency_key"] = f"{self.name}-b{self.made}"
            body = "\n".join(written(event) for event in events)
            request = ("/v1/events", "application/x-ndjson", body.encode(), events)
        elif dice < 0.28:
            event = self.event()
            event.pop("deliver_at", None)
            body = self.random.randbytes(self.random.randint(1, 30_000))
            event.pop("data")
            event["opaque"] = body
            key = event.get("idempotency_key")
            target = f"/v1/events/{event['type']}" + (f"?idempotency_key={key}" if key else "")
            request = (target, OPAQUE, body, [event])
        else:
            event = self.event()
            request = ("/v1/events", "application/json", written(event).encode(), [event])
        if all("idempotency_key" in event for event in request[3]):
            self.keyed = self.keyed[-20:] + [request]
        return request


def written(event):
    rest = {key: value for key, value in event.items() if key not in ("type", "data")}
    return f'{{"type":"{event["type"]}","data":{event["data"]}{"," + json.dumps(rest)[1:-1] if rest else ""}}}'


def entry_of(event, receipt):
    """The manifest's line for an acknowledged event, with its body."""
    wanted = endpoints_of(event["type"])
    if receipt["deliveries"] != len(wanted):
        raise Broken("an event has another number of deliveries")
    entry = {key: value for key, value in event.items() if key not in ("data", "opaque")}
    body = event["opaque"] if "opaque" in event else event["data"].encode()
    return dict(entry, kind="event", id=receipt["id"], endpoints=wanted, body=body,
                content_type=OPAQUE if "opaque" in event else None, duplicate=receipt["duplicate"])


class Recording:
    def __init__(self, args):
        self.args, self.random = args, random.Random(f"recording/{args.seed}")
        ack = os.environ["CRASHCHECK_ACK"]
        self.manifest = Manifest(args.side, ack, args.acked)
        self.receiver = Receiver(self.verdict)
        closed = socket.socket()
        closed.bind(("127.0.0.1", 0))       # taken and not listened on: refused
        self.closed, down = closed, closed.getsockname()[1]
        cleaning = args.workload == "cleaning"
        port = self.receiver.port
        tables = endpoint_tables(lambda i: f"http://127.0.0.1:{down if i == 'down' else port}/{i}")
        kept = "1s" if cleaning else "7d"
        self.daemon = Daemon(args.bin, args.side, os.path.join(args.data, "store"), f"""
[ingest]
max_event_size = "6MiB"

[outbox]
segment_size = "4MiB"
min_free_disk = "1MiB"
cache_size = "2MiB"

[retention]
delivered = "{kept}"
""" + tables, args.boot)
        self.loads = [Load(f"{args.workload}{args.seed}-{i}", args.seed, cleaning)
                      for i in range(CLIENTS)]
        self.first_tries, self.lock = set(), threading.Lock()
        self.made, self.erased = self.known_endpoints(), set()
        self.phase_end = 0

    def verdict(self, endpoint, event):
        if endpoint == "broken":
            return 500
        if endpoint == "slow":
            time.sleep(0.1)
        if endpoint == "flaky":
            with self.lock:
                first = event not in self.first_tries
                self.first_tries.add(event)
            if first and sum(event.encode()) % 3 == 0:
                return 503
        return 204

    # -- phases

    def load(self, acks):
        """Loads from all clients at once, until so many more are acknowledged; the clients
        go on until the daemon is gone or `finish` is called."""
        self.enough = threading.Event()
        self.quit = False
        self.phase_end = self.manifest.count + acks
        self.threads = [threading.Thread(target=self.client, args=(load,)) for load in self.loads]
        for thread in self.threads:
            thread.start()
        if not self.enough.wait(PHASE_DEADLINE):
            raise Broken("the load does not get on")

    def finish(self):
        self.quit = True
        for thread in self.threads:
            thread.join()

    def client(self, load):
        client = Client(self.daemon.socket)
        while not self.quit:
            request = load.request()
            target, content_type, body, events = request
            try:
                status, answer = client.call("POST", target, body, {"content-type": content_type})
            except Gone:
                if any("idempotency_key" in event for event in events):
                    load.unknown.append(request)
                return
            if status == 503:
                return
            if status != 202:
                raise Broken(f"an event gets {status}: {answer[:200]}")
            answer = json.loads(answer)
            receipts = answer.get("events", [answer])
            entries = []
            for event, receipt in zip(events, receipts, strict=True):
                entries.append(entry_of(event, receipt))
            if self.manifest.add(entries) >= self.phase_end:
                self.enough.set()

    def act(self):
        """One round of acknowledged actions, and of what was seen."""
        client, manifest = Client(self.daemon.socket), self.manifest
        with manifest.lock:
            events = manifest.events[-400:]
        for step in self.random.choice([["disable"], ["enable"], ["disable", "enable"]]):
            self.action(client, "POST", f"/v1/endpoints/off/{step}", (204,),
                        {"kind": "act", "act": step, "endpoint": "off"})
        futures = [e for e in events if "deliver_at" in e and e["endpoints"]]
        if futures:
            event = self.random.choice(futures)
            endpoint = self.random.choice(event["endpoints"])
            if endpoint != "off":
                self.action(client, "POST", f"/v1/events/{event['id']}/deliveries/{endpoint}/cancel",
                            (200, 409),
                            {"kind": "act", "act": "cancel", "event": event["id"], "endpoint": endpoint})
        dead = client.get("/v1/deliveries?status=dead&endpoint=broken&limit=10")["data"]
        for row in [row for row in dead if row["reason"] == "exhausted"][:2]:
            self.action(client, "POST", f"/v1/events/{row['event']}/deliveries/broken/retry",
                        (202, 409, 404),
                        {"kind": "act", "act": "retry", "event": row["event"], "endpoint": "broken"})
        self.own_endpoints(client)
        done = [e for e in events if e["id"] not in self.erased]
        if done:
            event = self.random.choice(done)["id"]
            self.erased.add(event)
            self.action(client, "DELETE", f"/v1/events/{event}", (204, 404),
                        {"kind": "erase", "event": event})
        seen = []
        events = [e for e in events if e["id"] not in self.erased]
        for event in self.random.sample(events, min(12, len(events))):
            status, body = client.call("GET", f"/v1/events/{event['id']}")
            if status == 404 and self.args.workload == "cleaning":
                continue
            if status != 200:
                raise Broken(f"an acknowledged event gives {status}")
            for row in json.loads(body)["deliveries"]:
                seen.append([row["event"], row["endpoint"], row["status"], row["attempt_count"]])
        manifest.add([{"kind": "seen", "seen": seen}])

    def action(self, client, method, target, wanted, entry, body=None):
        """One action and its line in the manifest, if it was done: the answer."""
        begun = self.manifest.count
        headers = {} if body is None else {"content-type": "application/json"}
        status, answer = client.call(method, target, None if body is None else json.dumps(body).encode(),
                                     headers)
        if status not in wanted:
            raise Broken(f"{entry} gives {status}: {answer[:200]}")
        if status >= 300:
            return None
        answer = json.loads(answer) if answer else {}
        if entry["kind"] == "own" and entry["act"] in ("make", "rotate"):
            entry = dict(entry, id=entry["id"] or answer["id"], secret=answer["secret"])
        self.manifest.add([dict(entry, begun=begun)])
        return entry

    def known_endpoints(self):
        """Those of an earlier recording that are certainly there."""
        made, doubtful = {}, set()
        if os.path.exists(self.manifest.path):
            with open(self.manifest.path) as f:
                for entry in map(json.loads, f):
                    if entry["kind"] != "own":
                        continue
                    if entry["n"] is None:
                        doubtful.add(entry["id"])
                    elif entry["act"] == "delete":
                        made.pop(entry["id"], None)
                    else:
                        made[entry["id"]] = True
        return [i for i in made if i not in doubtful]

    def own_endpoints(self, client):
        """Endpoints made, changed and deleted through the API. Nothing is sent to them."""
        def own(act, i=None, **more):
            return dict({"kind": "own", "act": act, "id": i}, **more)
        number = self.manifest.count
        path = "/v1/endpoints"
        body = {"url": "http://127.0.0.1:9/never", "tenant": "own", "types": ["own.never"],
                "description": f"made {number}"}
        made = self.action(client, "POST", path, (201,), own("make", description=f"made {number}"), body)
        self.made.append(made["id"])
        chosen = self.random.choice(self.made)
        text = f"changed {number}"
        self.action(client, "PATCH", f"{path}/{chosen}", (200,), own("change", chosen, description=text),
                    {"description": text, "headers": {"x-long": "h" * self.random.randrange(2000)}})
        chosen = self.random.choice(self.made)
        self.action(client, "POST", f"{path}/{chosen}/rotate", (200,), own("rotate", chosen), {"overlap": "1h"})
        if len(self.made) > 3:
            chosen = self.made.pop(self.random.randrange(len(self.made)))
            self.action(client, "DELETE", f"{path}/{chosen}", (204,), own("delete", chosen))

    def large(self):
        """One event that needs a segment of its own."""
        load, client = self.loads[0], Client(self.daemon.socket)
        data = json.dumps("L" * (4_500_000 + load.random.randrange(4096)))
        event = {"type": "order.late", "data": data, "idempotency_key": f"{load.name}-large"}
        status, answer = client.call("POST", "/v1/events", written(event).encode(),
                                     {"content-type": "application/json"})
        if status != 202:
            raise Broken(f"a large event gets {status}: {answer[:200]}")
        self.manifest.add([entry_of(event, json.loads(answer))])

    def phase(self, acks, end, actions=2):
        """Starts the daemon, loads it, acts, and ends it under load."""
        self.daemon.start()
        each = max(1, acks // (actions + 1))
        for _ in range(actions):
            self.load(each)
            self.act()
            self.finish()
        # Long enough for a mark, and for the index to move to disk.
        time.sleep(1.3)
        self.load(each)
        end()
        self.finish()

    def startups(self, count):
        """Kills it while it recovers."""
        for _ in range(count):
            self.daemon.launch()
            time.sleep(self.random.uniform(0.01, 0.25))
            self.daemon.kill()

    def drop_index(self):
        shutil.rmtree(os.path.join(self.args.data, "store", "index"))

    def first_segment(self):
        """The name of the log's oldest segment."""
        return min(os.listdir(os.path.join(self.args.data, "store", "log")))

    def wait_for_cleaning(self, first):
        """Until the segment that was the first is gone."""
        deadline = time.monotonic() + PHASE_DEADLINE
        while self.first_segment() == first:
            if time.monotonic() > deadline:
                raise Broken("no segment goes")
            time.sleep(0.05)

    # -- workloads

    def plain(self):
        daemon = self.daemon
        self.phase(150, daemon.kill)
        self.startups(2)
        self.phase(150, daemon.stop)
        self.drop_index()
        daemon.start()
        self.large()
        daemon.kill()
        self.phase(150, daemon.kill)
        # An idle moment proves the last frame; then a clean stop, and a start from it.
        daemon.start()
        self.act()
        time.sleep(0.4)
        daemon.stop()
        self.phase(100, daemon.stop, actions=1)

    def cleaning(self):
        daemon = self.daemon
        # As a service manager does, which syncs nothing.
        os.mkdir(os.path.join(self.args.data, "store"))
        for end in (daemon.kill, daemon.kill, daemon.stop):
            daemon.start()
            first = self.first_segment()
            self.load(350)
            self.act()
            self.finish()
            self.wait_for_cleaning(first)
            # Ended while it loads and cleans.
            self.load(150)
            end()
            self.finish()
        self.startups(1)
        daemon.start()
        self.act()
        daemon.stop()

    def again(self):
        """Goes on from what a power cut left."""
        daemon = self.daemon
        self.startups(2)
        self.phase(60, daemon.kill, actions=1)
        self.startups(1)
        self.phase(60, daemon.stop, actions=1)

    def run(self):
        try:
            {"plain": self.plain, "cleaning": self.cleaning, "again": self.again}[self.args.workload]()
        finally:
            self.daemon.end()
        self.manifest.bodies.close()
        with open(os.path.join(self.args.side, "taken"), "a") as f:
            for event, endpoint in sorted(self.receiver.taken):
                f.write(f"{event} {endpoint}\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--side", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workload", choices=["plain", "cleaning", "again"], default="plain")
    parser.add_argument("--boot", default="recorded")
    parser.add_argument("--acked", type=int, default=0, help="numbers of the manifest that count")
    threading.excepthook = lambda args: (threading.__excepthook__(args), os._exit(1))
    Recording(parser.parse_args()).run()


if __name__ == "__main__":
    main()
