#!/usr/bin/env python3
"""Prints the events and attempts that are in a log, and names what is damaged.

    python3 read_log.py DATA_DIR

Reads DATA_DIR/log while no daemon has it open, or a copy of it, and changes nothing. Each line is
a JSON object. docs/log-format.md describes the bytes; `outboxd verify-store` checks far more.
"""
import base64
import json
import struct
import sys
from pathlib import Path

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)


def crc32c(data, before=0):
    crc = before ^ 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Head:
    """Values as bincode 2 spells them: little endian, integers of variable length."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, length):
        self.at += length
        if self.at > len(self.data):
            raise ValueError("the head is too short")
        return self.data[self.at - length : self.at]

    def integer(self):
        first = self.raw(1)[0]
        size = {251: 2, 252: 4, 253: 8, 254: 16}.get(first)
        return int.from_bytes(self.raw(size), "little") if size else first

    def text(self):
        return self.raw(self.integer()).decode()

    def option(self, read):
        return read() if self.raw(1)[0] else None

    def ulid(self):
        number, text = self.integer(), ""
        for _ in range(26):
            text = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[number & 31] + text
            number >>= 5
        return "evt_" + text

    def event(self):
        return {
            "event": self.ulid(),
            "accepted_at_ms": self.integer(),
            "tenant": self.text(),
            "type": self.text(),
            "key": self.option(self.text),
            "idempotency": self.option(lambda: (self.text(), self.raw(32).hex())),
            "deliver_at_ms": self.option(self.integer),
            "content_type": self.option(self.text),
            "data_at": self.integer(),
            "body_len": self.integer(),
            "body_lost": bool(self.raw(1)[0]),
        }

    def attempted(self):
        return {
            "event": self.ulid(),
            "endpoint_number": self.integer(),
            "ended_at_ms": self.integer(),
            "at_ms": self.integer(),
            "duration_ms": self.integer(),
            "status": self.option(self.integer),
            "error": self.option(lambda: (self.raw(1)[0], self.text())),
        }

    def endpoint(self):
        return {"endpoint_number": self.integer(), "endpoint": self.text(), "tenant": self.text()}


def content(row, body, extras):
    """What attempts send: the envelope's `data`, or the opaque body."""
    body = body[: len(body) - extras]
    if row["content_type"] is None:
        body = body[row["data_at"] : -1]
    try:
        return {"data": body.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(body).decode()}


def describe(kind, head, body):
    """The record in words; only the kinds that say what was accepted, attempted and to whom."""
    head = Head(head)
    if kind in (1, 18):
        row = head.event()
        head.integer()  # when it is due
        row["endpoint_numbers"] = [head.integer() for _ in range(head.integer())]
        extras = head.integer() if kind == 18 else 0
        return row | ({"erased_or_damaged": True} if body is None else content(row, body, extras))
    if kind in (17, 19):
        return {"rewritten": True} | head.event()
    if kind == 16:
        return head.attempted()
    return head.endpoint() if kind == 4 else {}


def records(payload, lsn, salt):
    """Each record of a frame: its position, kind, head and body; None for what fails its CRC."""
    at = 0
    while at + 32 <= len(payload):
        crc, head_len, body_len, kind, head_crc, body_crc, seal = struct.unpack_from(
            "<IIIB3xIIQ", payload, at
        )
        position = lsn + 56 + at
        if crc != crc32c(payload[at + 4 : at + 24], crc32c(struct.pack("<Q", position), salt)):
            yield position, None, None, None
            return
        head = payload[at + 32 : at + 32 + head_len]
        body = payload[at + 32 + head_len : at + 32 + head_len + body_len]
        head = head if crc32c(head, salt) == head_crc else None
        body = body if seal == 0 and crc32c(body, salt) == body_crc else None
        yield position, kind, head, body
        at = (at + 32 + head_len + body_len + 7) // 8 * 8


def segment(path):
    data = path.read_bytes()
    magic, version, crc, store, base, _ = struct.unpack_from("<8sII16sQQ", data)
    if magic != b"outboxd\n" or crc != crc32c(data[16:48], crc32c(data[:12])):
        return print(json.dumps({"damaged": "header", "file": path.name}))
    if version != 2:
        sys.exit(f"{path}: this reads version 2 of the log, and not {version}")
    salt, at = crc32c(store), 4096
    while data[at : at + 4] == b"oBxF":
        crc, lsn, _, _, _, length, _, _, _, _ = struct.unpack_from("<IQQQIIIIII", data, at + 4)
        if lsn != base + at or crc != crc32c(data[at + 8 : at + 56], salt):
            return print(json.dumps({"damaged": "frame", "file": path.name, "at": at}))
        for position, kind, head, body in records(data[at + 56 : at + 56 + length], lsn, salt):
            row = {"lsn": position, "kind": kind}
            if head is None:
                row["damaged"] = "record"
            else:
                row |= describe(kind, head, body)
            print(json.dumps(row, ensure_ascii=False))
        at = (at + 56 + length + 63) // 64 * 64


for path in sorted(Path(sys.argv[1], "log").glob("*.log")):
    segment(path)
