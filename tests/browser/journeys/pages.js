// Every page of a daemon that has seen a bad night: endpoints that fail in all ways, what others wrote
// to break pages, and names as long as they may be.
"use strict";

const { Daemon } = require("../daemon");
const { Receiver } = require("../receiver");
const { says } = require("../watch");

const HOSTILE = '<script>fetch("http://evil.example/")</script><img src="http://evil.example/x.png" onerror="alert(1)">';

const CONFIG = `
[delivery]
allow_networks = ["127.0.0.0/8"]
timeout = "1s"
[retry]
schedule = ["10ms", "10ms"]
[[endpoint]]
id = "from-the-file"
url = "http://127.0.0.1:9/"
types = ["file.*"]
`;

async function scene(daemon, receiver) {
  const make = (definition) => daemon.endpoint(definition);
  const ids = {
    ok: await make({ url: receiver.url("/ok"), types: ["order.*"], description: "the shop's orders" }),
    failing: await make({ url: receiver.url("/503"), types: ["order.*"], description: HOSTILE }),
    silent: await make({ url: receiver.url("/hang"), types: ["order.paid"] }),
    refused: await make({ url: "http://127.0.0.1:9/nobody-listens", types: ["user.created"] }),
    paused: await make({ url: receiver.url("/ok"), types: ["order.created"], description: "moves to another house" }),
    retrying: await make({ url: receiver.url("/500"), types: ["user.*"], retry: { schedule: ["1h", "1h"] } }),
    long: await make({
      tenant: "a".repeat(40), description: "d".repeat(100),
      url: receiver.url(`/ok/${"p".repeat(200)}`), types: ["*"],
    }),
  };
  await daemon.post(`/v1/endpoints/${ids.paused}/disable`);
  const events = {};
  for (let at = 0; at < 12; at++) {
    events.order = await daemon.send("order.created", { id: at, customer: { name: "Ada", note: HOSTILE }, lines: [1, 2, 3] }, { key: `customer-${at % 3}` });
  }
  events.paid = await daemon.send("order.paid", { id: 1 });
  events.user = await daemon.send("user.created", { id: 1, name: HOSTILE });
  events.file = await daemon.send("file.written", { id: 1 });
  events.long = await daemon.send(`${"t".repeat(60)}.${"u".repeat(60)}`, { text: "x".repeat(20000) }, { tenant: "a".repeat(40), key: "k".repeat(120) });
  await daemon.settled(events.order, ids.ok, "delivered");
  await daemon.settled(events.order, ids.failing, "dead");
  await daemon.settled(events.paid, ids.silent, "dead");
  await daemon.settled(events.user, ids.refused, "dead");
  await daemon.settled(events.long, ids.long, "delivered");
  return { ids, events };
}

module.exports = async ({ watch, start }) => {
  const receiver = await start(Receiver.start());
  const daemon = await start(Daemon.start({ config: CONFIG }));
  const { ids, events } = await scene(daemon, receiver);
  const page = await watch.open(daemon);
  const look = async (name, path, status = 200) => {
    if (status !== 200) page.expected.push(status);
    const answer = await page.goto(path);
    if (answer.status() !== status) throw new Error(`${path} answers ${answer.status()}`);
    await watch.inspect(page, name);
  };
  await look("overview", "/ui/");
  await look("endpoints", "/ui/endpoints");
  await look("endpoints-bad-filter", "/ui/endpoints?tenant=a.b", 400);
  for (const [name, id] of Object.entries(ids)) await look(`endpoint-${name}`, `/ui/endpoints/${id}`);
  await look("endpoint-from-the-file", "/ui/endpoints/from-the-file");
  await look("endpoint-edit", `/ui/endpoints/${ids.failing}/edit`);
  await look("replay", `/ui/endpoints/${ids.failing}/replay`);
  await look("events", "/ui/events");
  await look("events-filtered", "/ui/events?type=order.*&since=1h");
  await look("events-none-fit", "/ui/events?type=nothing.like.it");
  await look("events-bad-filter", "/ui/events?since=soon", 400);
  await look("event", `/ui/events/${events.order}`);
  await look("event-raw", `/ui/events/${events.order}?body=raw`);
  await look("event-hex", `/ui/events/${events.long}?body=hex`);
  await look("event-long", `/ui/events/${events.long}`);
  await look("event-erase", `/ui/events/${events.order}/erase`);
  await look("deliveries", "/ui/deliveries");
  await look("deliveries-dead", "/ui/deliveries?status=dead");
  await look("delivery-delivered", `/ui/events/${events.order}/deliveries/${ids.ok}`);
  await look("delivery-dead", `/ui/events/${events.order}/deliveries/${ids.failing}`);
  await page.getByText("What was answered").first().click();
  await watch.inspect(page, "delivery-answer-open");
  await look("delivery-timed-out", `/ui/events/${events.paid}/deliveries/${ids.silent}`);
  await look("delivery-refused", `/ui/events/${events.user}/deliveries/${ids.refused}`);
  await look("delivery-held", `/ui/events/${events.order}/deliveries/${ids.paused}`);
  await look("delivery-waiting", `/ui/events/${events.user}/deliveries/${ids.retrying}`);
  await look("delivery-never", `/ui/events/${events.user}/why?endpoint=${ids.ok}`);
  await look("dead-by-reason", "/ui/dead");
  await look("send", "/ui/send");
  await look("status", "/ui/status");
  await look("api", "/ui/api");
  await page.locator("article", { hasText: "POST /v1/events" }).getByText("Parameters, body and responses").first().click();
  await says(page, "idempotency_key");
  await look("api-object", "/ui/api/Delivery");
  await look("no-such-page", "/ui/nothing", 404);
  await look("no-such-event", "/ui/events/evt_00000000000000000000000000", 404);
  await look("no-such-endpoint", "/ui/endpoints/nobody", 404);

  // What an operator sends from here is an event like any other.
  await page.goto("/ui/send");
  await page.getByLabel("Type", { exact: true }).fill("order.created");
  await page.getByLabel("Data").fill('{"id": 99}');
  await page.getByRole("button", { name: "Send" }).click();
  await says(page, "The event is accepted and durable");
  await page.getByRole("link", { name: "Erase…" }).click();
  await page.getByRole("button", { name: "Erase" }).click();
  await says(page, "The event is erased");
  const downloading = page.waitForEvent("download");
  await page.goto(`/ui/events/${events.order}`);
  await page.getByRole("link", { name: "download" }).click();
  await (await downloading).delete();
};
