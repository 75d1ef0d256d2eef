// Dead letters are counted, then replayed slowly; the job is looked at and cancelled; the rest is purged.
"use strict";

const { Daemon } = require("../daemon");
const { Receiver } = require("../receiver");
const { says } = require("../watch");

const COUNT = 30;

module.exports = async ({ watch, start }) => {
  const receiver = await start(Receiver.start());
  const daemon = await start(Daemon.start());
  const endpoint = await daemon.endpoint({ url: receiver.url("/503") });
  const page = await watch.open(daemon);
  await page.goto("/ui/dead");
  await watch.inspect(page, "dead-none");
  await page.goto("/ui/jobs");
  await watch.inspect(page, "jobs-none");
  for (let at = 0; at < COUNT; at++) await daemon.send("order.created", { at });
  await daemon.backlog(endpoint, "dead", COUNT);

  await page.goto("/ui/dead");
  await says(page, `${COUNT} dead`);
  await watch.inspect(page, "dead");
  await page.getByRole("link", { name: "Replay…" }).click();
  await says(page, `${COUNT} deliveries match`);
  await page.getByLabel("Rate").fill("1/m");
  await page.getByRole("button", { name: "Count" }).click();
  await page.getByRole("heading", { name: `${COUNT} deliveries match` }).waitFor();
  await watch.inspect(page, "replay-counted");
  // Counting has changed nothing.
  await daemon.backlog(endpoint, "dead", COUNT);
  await page.getByRole("button", { name: `Replay ${COUNT} deliveries` }).click();
  await says(page, "The replay has begun");
  await page.getByRole("progressbar").waitFor();
  await says(page, `of ${COUNT}`);
  await watch.inspect(page, "job");
  const job = new URL(page.url()).pathname;
  await page.getByRole("link", { name: "Jobs", exact: true }).click();
  await watch.inspect(page, "jobs");
  await page.getByRole("button", { name: "Cancel" }).click();
  await says(page, "The job is cancelled");
  await page.goto(job);
  await says(page, "The job has ended");
  await watch.inspect(page, "job-over");
  if ((await daemon.get("/v1/jobs")).data.length) throw new Error("the job goes on");

  await page.goto(`/ui/endpoints/${endpoint}/purge`);
  await watch.inspect(page, "purge");
  await page.getByRole("button", { name: "Count" }).click();
  await page.getByRole("button", { name: /^Purge \d+ deliver/ }).click();
  await says(page, "The purge has begun");
  await daemon.backlog(endpoint, "dead", 0);
};
