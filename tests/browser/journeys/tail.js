// The live tail shows what comes, pauses, and counts what it missed.
"use strict";

const { Daemon } = require("../daemon");
const { Receiver } = require("../receiver");
const { until } = require("../until");

module.exports = async ({ watch, start }) => {
  const receiver = await start(Receiver.start());
  const daemon = await start(Daemon.start());
  const endpoint = await daemon.endpoint({ url: receiver.url("/ok") });
  const page = await watch.open(daemon);
  await page.goto("/ui/tail");
  await page.locator("#state", { hasText: "connected" }).waitFor();
  await watch.inspect(page, "tail-empty");
  const first = await daemon.send("order.created", { id: 1 });
  const rows = page.locator("#happened tr");
  await rows.filter({ hasText: "attempt" }).filter({ hasText: first }).waitFor();
  await rows.filter({ hasText: "accepted" }).filter({ hasText: first }).waitFor();
  await watch.inspect(page, "tail");
  await page.getByRole("button", { name: "Clear" }).click();
  if (await rows.count()) throw new Error("“Clear” leaves rows");

  // More than it keeps while it is paused: what is dropped is counted.
  await page.getByRole("button", { name: "Pause" }).click();
  const last = [];
  for (let at = 0; at < 300; at++) last[0] = await daemon.send("order.paid", { at });
  await until("a count of what was missed", async () => Number(await page.locator("#missed").innerText()) > 0);
  if (await rows.count()) throw new Error("it shows rows while it is paused");
  await receiver.at("/ok", 301);
  await daemon.settled(last[0], endpoint, "delivered");
  await page.getByRole("button", { name: "Go on" }).click();
  // What comes too fast to be read is not shown; what comes now is.
  await until("an event that comes after it went on", async () => {
    last[0] = await daemon.send("order.paid", { at: "later" });
    return rows.filter({ hasText: last[0] }).first().waitFor({ timeout: 1000 }).then(() => true, () => false);
  });
  await until("at most 500 rows", async () => (await rows.count()) <= 500);

  // The filter is the server's.
  await page.getByLabel("type").fill("user.*");
  await page.getByRole("button", { name: "Filter" }).click();
  await page.locator("#state", { hasText: "connected" }).waitFor();
  await daemon.send("order.paid", { id: 2 });
  const wanted = await daemon.send("user.created", { id: 3 });
  await rows.filter({ hasText: wanted }).first().waitFor();
  if (await rows.filter({ hasText: "order.paid" }).count()) throw new Error("the filter lets others through");

  const bare = await watch.open(daemon, { script: false });
  await bare.goto("/ui/tail");
  // Texts in it are nothing to playwright.
  await bare.locator("noscript p").waitFor();
  await watch.inspect(bare, "tail-without-script");
};
