#!/usr/bin/env python3
"""The verifier for `crashcheck.py explore`: does what was acknowledged hold on this state?

Starts the real outboxd on it, asks for every acknowledged event, its body, its deliveries
and its idempotency key, sees open deliveries arrive, writes something, ends the daemon,
starts it again and looks once more. Exits 0, or 1 with the reason as its last line.

    verify.py --bin OUTBOXD --side DIR --boot ID|fresh [--forgets] DIR ACKED
"""

import argparse
import base64
import json
import os
import random
import shutil
import sys
import tempfile
import time

from outboxd import Broken, Client, Daemon, Gone, Receiver, endpoint_tables, endpoints_of

DRAIN_DEADLINE = 30.0
# Events looked at whole: the newest, and some of the others.
NEWEST, OTHERS = 60, 60
REPEATED = 15


class Promised:
    """What the manifest says was told before the crash."""

    def __init__(self, side, acked):
        self.events, self.cancelled, self.cancels, self.retries = {}, set(), set(), set()
        self.statuses, self.off, self.keys = {}, {"enable"}, {}
        # What each API endpoint may be by now: the last that was told, and what was begun after.
        self.endpoints, self.erased, self.erasing = {}, set(), set()
        with open(os.path.join(side, "manifest")) as f:
            for entry in map(json.loads, f):
                told = entry["n"] is not None and entry["n"] <= acked
                if told or entry.get("begun", acked + 1) <= acked:
                    getattr(self, entry["kind"])(entry, told)
        with open(os.path.join(side, "taken")) as f:
            self.taken = {tuple(line.split()) for line in f}
        self.bodies = open(os.path.join(side, "bodies"), "rb")

    def body(self, event):
        """The data or the opaque body, as it was handed in."""
        self.bodies.seek(event["at"])
        return self.bodies.read(event["length"])

    def event(self, entry, _):
        known = self.events.setdefault(entry["id"], entry)
        if "idempotency_key" in entry:
            self.keys.setdefault(entry["idempotency_key"], known)
            if self.keys[entry["idempotency_key"]]["id"] != entry["id"]:
                raise Broken("the recording itself gave one key two events")

    def act(self, entry, told):
        if entry["act"] in ("disable", "enable"):
            self.off = {entry["act"]} if told else self.off | {entry["act"]}
            return
        subject = (entry["event"], entry["endpoint"])
        (self.cancels if entry["act"] == "cancel" else self.retries).add(subject)
        if told and entry["act"] == "cancel":
            self.cancelled.add(subject)

    def erase(self, entry, told):
        (self.erased if told else self.erasing).add(entry["event"])

    def own(self, entry, told):
        before = self.endpoints.get(entry["id"]) or [{}]
        after = [dict(state, deleted=entry["act"] == "delete",
                      **{key: entry[key] for key in ("description", "secret") if key in entry})
                 for state in before]
        self.endpoints[entry["id"]] = after if told else before + after

    def seen(self, entry, _):
        for event, endpoint, status, count in entry["seen"]:
            self.statuses[event, endpoint] = (status, count)


class Check:
    def __init__(self, args):
        self.args, self.random = args, random.Random(args.acked)
        self.promised = Promised(args.side, max(args.acked, args.at_least))
        self.work = tempfile.mkdtemp(prefix="verify-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.receiver = Receiver()
        tables = endpoint_tables(lambda i: f"http://127.0.0.1:{self.receiver.port}/{i}", rules=False)
        boot = args.boot if args.boot != "fresh" else f"fresh-{os.getpid()}"
        self.daemon = Daemon(args.bin, self.work, os.path.join(args.dir, "store"), """
[ingest]
max_event_size = "6MiB"

[outbox]
segment_size = "4MiB"
min_free_disk = "1MiB"
cache_size = "2MiB"

[retention]
delivered = "7d"

[retry]
first = "50ms"
max = "100ms"
""" + tables, boot)
        self.own = {}

    # -- what is asked

    def status(self, client):
        status = client.get("/v1/status")
        if status["damaged_records"]:
            raise Broken("a crash is taken for damage")
        return status

    def forgettable(self, event):
        """Everything of it was delivered while its short retention was in force."""
        return self.args.forgets and all((event["id"], i) in self.promised.taken for i in event["endpoints"])

    def own_endpoints(self, client):
        """Endpoints of the API are as they were told to be."""
        for i, states in self.promised.endpoints.items():
            status, body = client.call("GET", f"/v1/endpoints/{i}")
            if status == 404:
                if not any(state.get("deleted", True) for state in states):
                    raise Broken(f"an endpoint is gone ({i})")
                continue
            if status != 200:
                raise Broken(f"an endpoint gives {status} ({i})")
            secret = client.get(f"/v1/endpoints/{i}/secret")["secret"]
            found = {"deleted": False, "description": json.loads(body)["description"], "secret": secret}
            if found not in states:
                raise Broken(f"an endpoint is as it never was told to be ({i}: {found} not in {states})")

    def erased(self, client):
        """What was erased shows neither body nor attempts."""
        for event in self.promised.erased:
            status, _ = client.call("GET", f"/v1/events/{event}")
            if status != 410:
                raise Broken(f"an erased event gives {status} ({event})")

    def listed(self, client):
        """All acknowledged events are there, with what the list says of them."""
        rows = {row["id"]: row for row in client.every("/v1/events")}
        for event in list(self.promised.events.values()) + list(self.own.values()):
            row = rows.get(event["id"])
            if event["id"] in self.promised.erased | self.promised.erasing:
                continue
            if row is None:
                if self.forgettable(event) and event["id"] not in self.own:
                    continue
                raise Broken(f"an acknowledged event is gone ({event['id']})")
            if row["type"] != event["type"] or row["idempotency_key"] != event.get("idempotency_key"):
                raise Broken(f"an event has another type or key ({event['id']})")
            if sum(row["delivery_counts"].values()) != len(event["endpoints"]):
                raise Broken(f"an event has another number of deliveries ({event['id']})")
        return rows

    def whole(self, client, event, rows):
        if event["id"] not in rows or event["id"] in self.promised.erased | self.promised.erasing:
            return
        status, body = client.call("GET", f"/v1/events/{event['id']}")
        if status != 200:
            raise Broken(f"an acknowledged event gives {status} ({event['id']})")
        handed_in = event.get("data") or self.promised.body(event)
        shown = json.loads(body)
        if event["content_type"] is None:
            # Byte for byte, as it was written.
            good = b'"data":%b,"deliveries":' % handed_in in body
        else:
            good = base64.b64decode(shown["body_base64"]) == handed_in
            good = good and shown["content_type"] == event["content_type"]
        if not good:
            raise Broken(f"an event has another body ({event['id']})")
        deliveries = shown["deliveries"]
        if sorted(row["endpoint"] for row in deliveries) != event["endpoints"]:
            raise Broken(f"an event has other deliveries ({event['id']})")
        for row in deliveries:
            self.delivery(row)

    def delivery(self, row):
        """A delivery may have gone on since it was seen, but not back."""
        subject, promised = (row["event"], row["endpoint"]), self.promised
        status, count = promised.statuses.get(subject, ("pending", 0))
        if row["attempt_count"] < count:
            raise Broken(f"attempts that were seen are gone ({subject})")
        if len(row["attempts"]) != min(row["attempt_count"], 50):
            raise Broken(f"attempts cannot be listed ({subject})")
        if status in ("delivered", "dead") and row["status"] != status and subject not in promised.retries:
            raise Broken(f"a delivery that was {status} is {row['status']} ({subject})")
        if subject in promised.cancelled and (row["status"], row["reason"]) != ("dead", "cancelled"):
            raise Broken(f"a delivery that was cancelled is {row['status']} ({subject})")
        if row["status"] == "delivered" and subject not in promised.taken | self.receiver.taken:
            raise Broken(f"a delivery is delivered that nobody took ({subject})")
        if row["status"] == "dead":
            reason = row["reason"]
            if not (reason == "exhausted" and row["endpoint"] == "broken"
                    or reason == "cancelled" and subject in promised.cancels):
                raise Broken(f"a delivery is dead without cause: {reason} ({subject})")

    def endpoint(self, client):
        off = client.get("/v1/endpoints/off")["disabled_reason"]
        if ("enable" if off is None else "disable") not in self.promised.off:
            raise Broken(f"an endpoint's state is lost: disabled_reason is {off}")
        return off is not None

    def repeated(self, client):
        """The same key and content again gives the first answer, and nothing new."""
        keyed = list(self.promised.keys.values())
        for event in keyed[-REPEATED:] + self.random.sample(keyed, min(REPEATED, len(keyed))):
            key = event["idempotency_key"]
            body, content_type = self.promised.body(event), event["content_type"]
            target = f"/v1/events/{event['type']}?idempotency_key={key}"
            if content_type is None:
                rest = {k: event[k] for k in ("type", "idempotency_key", "deliver_at") if k in event}
                body = b'{"data":%b,%b' % (body, json.dumps(rest)[1:].encode())
                target, content_type = "/v1/events", "application/json"
            status, answer = client.call("POST", target, body, {"content-type": content_type})
            answer = json.loads(answer)
            if status != 202 or not answer["duplicate"] or answer["id"] != event["id"]:
                raise Broken(f"an idempotency key is lost: {status} ({answer})")

    def drained(self, client, off):
        """Every open delivery arrives, but those of later and of the disabled endpoint."""
        deadline = time.monotonic() + DRAIN_DEADLINE
        while True:
            open_rows = [row for row in client.every("/v1/deliveries?status=pending")
                         if not (row["next_attempt_at"] or "").startswith("2099")]
            if not open_rows:
                break
            if time.monotonic() > deadline:
                first = open_rows[0]
                raise Broken(f"{len(open_rows)} deliveries do not arrive ({first})")
            with self.receiver.changed:
                self.receiver.changed.wait(0.05)
        for row in client.every("/v1/deliveries?status=held"):
            if row["endpoint"] != "off" or not off:
                raise Broken(f"a delivery is held without cause ({row})")

    def write(self, client):
        """New events, single and in a batch, newer than all that were there."""
        newest = max([event["id"] for event in self.promised.events.values()] or [""])
        key = f"verify-{os.getpid()}"
        body = json.dumps({"type": "order.created", "data": 1, "idempotency_key": key}).encode()
        answers = []
        for target, content_type, body in [
                ("/v1/events", "application/json", body),
                ("/v1/events", "application/x-ndjson", b'{"type":"order.paid","data":[2]}\n' * 3)]:
            status, answer = client.call("POST", target, body, {"content-type": content_type})
            if status != 202:
                raise Broken(f"a new event gets {status}: {answer[:200]}")
            answer = json.loads(answer)
            answers += answer.get("events", [answer])
        for answer in answers:
            if answer["id"] <= newest or answer["duplicate"]:
                raise Broken(f"a new event has an old id ({answer['id']})")
            newest = answer["id"]
            data = b"1" if answer["type"] == "order.created" else b"[2]"
            event = {"id": answer["id"], "type": answer["type"], "data": data, "content_type": None,
                     "endpoints": endpoints_of(answer["type"])}
            if data == b"1":
                event["idempotency_key"] = key
            self.own[event["id"]] = event

    # -- the order of it

    def looks(self, client):
        status = self.status(client)
        rows = self.listed(client)
        off = self.endpoint(client)
        self.own_endpoints(client)
        self.erased(client)
        events = list(self.promised.events.values())
        chosen = events[-NEWEST:] + self.random.sample(events, min(OTHERS, len(events)))
        for event in chosen:
            self.whole(client, event, rows)
        self.repeated(client)
        self.drained(client, off)
        for event in chosen + list(self.own.values()):
            self.whole(client, event, rows)
        return status

    def run(self):
        client = self.daemon.start()
        kind = self.looks(client)["recovery"]["kind"]
        if self.args.boot == "fresh" and kind not in ("rebuilt", "created"):
            raise Broken(f"an index from before the power cut is used: {kind}")
        self.write(client)
        clean = self.random.random() < 0.5
        if clean:
            self.drained(client, self.endpoint(client))
            self.daemon.stop()
        else:
            self.daemon.kill()
        client = self.daemon.start()
        kind = self.looks(client)["recovery"]["kind"]
        if clean and kind != "clean":
            raise Broken(f"after a clean stop the recovery is {kind}")
        self.daemon.kill()

    def close(self):
        self.daemon.end()
        shutil.rmtree(self.work, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--side", required=True)
    parser.add_argument("--boot", required=True, help="of the recording, or `fresh`")
    parser.add_argument("--forgets", action="store_true", help="recorded with a short retention")
    parser.add_argument("dir")
    parser.add_argument("acked", type=int)
    # What was acknowledged before the recording began.
    parser.add_argument("--at-least", type=int, default=0)
    check = Check(parser.parse_args())
    try:
        check.run()
    except (Broken, Gone) as reason:
        with open(check.daemon.log, errors="replace") as log:
            print(log.read())
        print(str(reason).replace("\n", " "))
        sys.exit(1)
    finally:
        check.close()


if __name__ == "__main__":
    main()
