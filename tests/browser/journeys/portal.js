// A customer's link: it opens one session, in which an endpoint is made, its failure understood and
// repaired, and a dead letter sent again; then the app revokes it, and what is open ends.
"use strict";

const { Daemon } = require("../daemon");
const { Receiver } = require("../receiver");
const { says, shows } = require("../watch");

const OTHERS = ["other-tenant", "rival.example", "the rival's orders", "127.0.0.1:9"];

module.exports = async ({ watch, start }) => {
  const receiver = await start(Receiver.start());
  const daemon = await start(Daemon.start());
  await daemon.endpoint({ tenant: "other-tenant", url: "http://127.0.0.1:9/rival.example", description: "the rival's orders" });
  await daemon.send("order.created", { secret: "of the rival" }, { tenant: "other-tenant" });
  const link = (more) => daemon.post("/v1/portal/links", {
    tenant: "acme", capabilities: ["manage", "replay", "secrets"], session: "user-17",
    return_url: `${receiver.url("/")}settings`, ...more,
  });
  const { url } = await link({});
  const path = url.slice(url.indexOf("/portal/"));

  const page = await watch.open(daemon);
  await page.goto(path);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  if (page.url().includes("c=")) throw new Error("the code stays in the address");
  const kept = await page.evaluate(() => [document.cookie, Object.keys(localStorage).length, Object.keys(sessionStorage).length]);
  if (kept.join() !== ",0,0") throw new Error(`a script can read ${kept}`);
  await says(page, "There is no endpoint yet");
  await watch.inspect(page, "portal-new");

  // The first endpoint, which fails.
  await page.getByRole("link", { name: "Make an endpoint" }).click();
  await page.getByLabel("URL", { exact: true }).fill(receiver.url("/500-wrong"));
  await page.getByLabel("Description").fill("our shop");
  await watch.inspect(page, "portal-endpoint-new");
  await page.getByRole("button", { name: /Make|Save|Create/ }).first().click();
  await says(page, "The endpoint is made");
  const endpoint = new URL(page.url()).pathname.split("/").pop();
  await watch.inspect(page, "portal-endpoint");
  const event = await daemon.send("order.created", { id: 7 }, { tenant: "acme" });
  await daemon.settled(event, endpoint, "dead");
  await page.goto("/portal/");
  await says(page, "our shop");
  await watch.inspect(page, "portal-overview");
  await page.getByRole("link", { name: event }).click();
  await says(page, "Attempt 2");
  await watch.inspect(page, "portal-delivery");
  await page.goto("/portal/dead");
  await says(page, "answered 500");
  await watch.inspect(page, "portal-dead");

  // Repaired and sent again.
  await page.goto(`/portal/endpoints/${endpoint}/edit`);
  await page.getByLabel("URL", { exact: true }).fill(receiver.url("/ok"));
  await page.getByRole("button", { name: "Save" }).first().click();
  await says(page, "The change is in force");
  await page.goto(`/portal/events/${event}/deliveries/${endpoint}`);
  await page.getByRole("button", { name: "Retry" }).click();
  await receiver.at("/ok");
  await daemon.settled(event, endpoint, "delivered");
  await shows(page, "delivered");
  for (const [name, where] of [["events", "/portal/events"], ["event", `/portal/events/${event}`], ["endpoints", "/portal/endpoints"], ["deliveries", "/portal/deliveries"]]) {
    await page.goto(where);
    const text = await page.content();
    for (const other of OTHERS) if (text.includes(other)) throw new Error(`${where} shows “${other}”`);
    await watch.inspect(page, `portal-${name}`);
  }

  // The link has done its work: another browser gets nothing by it.
  const other = await watch.open(daemon);
  other.expected.push(403);
  await other.goto(path);
  await says(other, "The link was used before");
  await watch.inspect(other, "portal-used-link");

  // One who may only look sees no button, and asks in vain.
  const looking = await watch.open(daemon);
  const viewer = await link({ capabilities: ["view"], session: "user-18" });
  await looking.goto(viewer.url.slice(viewer.url.indexOf("/portal/")));
  await looking.getByRole("heading", { name: "Overview" }).waitFor();
  await looking.goto(`/portal/endpoints/${endpoint}`);
  for (const name of ["Pause", "Send a test", "Show", "Delete…"]) {
    if (await looking.getByRole("button", { name }).count()) throw new Error(`a viewer has “${name}”`);
  }
  looking.expected.push(403);
  await looking.goto(`/portal/endpoints/${endpoint}/edit`);
  await says(looking, "lacks the capability");
  await watch.inspect(looking, "portal-lacks");

  // Revoked: the live tail ends, and the next page is the one for links.
  await page.goto("/portal/tail");
  await page.locator("#state", { hasText: "connected" }).waitFor();
  await daemon.call("DELETE", "/v1/portal/links?tenant=acme&session=user-17");
  await page.locator("#state", { hasNotText: /^connected/ }).waitFor();
  await looking.goto("/portal/events");
  await looking.getByRole("heading", { name: "Events" }).waitFor();
  const answer = await page.goto("/portal/");
  if (answer.status() !== 200) throw new Error(`the page for links answers ${answer.status()}`);
  await page.getByRole("heading", { name: "Open a link" }).waitFor();
  await watch.inspect(page, "portal-ended");
};
