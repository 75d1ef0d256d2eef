// PORT=8000 WEBHOOK_SECRET=whsec_… DONE_FILE=done.txt node receiver.mjs
import crypto from "node:crypto";
import fs from "node:fs";
import http from "node:http";

const TOLERANCE = 300; // seconds
const LARGEST_BODY = 2 << 20;

const key = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
const doneFile = fs.openSync(process.env.DONE_FILE, "a+");
const done = new Set(fs.readFileSync(process.env.DONE_FILE, "utf8").split("\n"));

/** Whether one of the signatures is ours, and of the last five minutes. */
function isGenuine(headers, body) {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!/^[0-9]{1,12}$/.test(timestamp)) return false;
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE) return false;
  const mac = crypto.createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body);
  const expected = Buffer.from("v1," + mac.digest("base64"));
  // Several while a secret is rotated; each is compared in constant time.
  const candidates = (headers["webhook-signature"] ?? "").split(" ").map((text) => Buffer.from(text));
  return candidates.some(
    (candidate) => candidate.length === expected.length && crypto.timingSafeEqual(candidate, expected),
  );
}

function doOnce(id, body) {
  // With a database: insert the id into a table with a unique key, in the transaction that does
  // the work. Here a file has the ids.
  if (done.has(id)) return;
  // YOUR WORK with `body`, in the same transaction.
  fs.writeSync(doneFile, id + "\n");
  fs.fsyncSync(doneFile);
  done.add(id);
}

const server = http.createServer(async (request, response) => {
  const pieces = [];
  let length = 0;
  for await (const piece of request) {
    length += piece.length;
    if (length > LARGEST_BODY) return response.writeHead(413, { connection: "close" }).end();
    pieces.push(piece);
  }
  const body = Buffer.concat(pieces); // the bytes as they came; parse them afterwards
  if (!isGenuine(request.headers, body)) return response.writeHead(401).end();
  doOnce(request.headers["webhook-id"], body);
  response.writeHead(204).end(); // only now: outboxd sends it again until it gets a 2xx
});
server.listen(Number(process.env.PORT), "127.0.0.1");
