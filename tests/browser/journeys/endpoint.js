// An endpoint is made with types and a filter, tried, previewed and tested; its secret is shown.
"use strict";

const { Daemon } = require("../daemon");
const { Receiver } = require("../receiver");
const { says, shows } = require("../watch");

const FILTER = '{"data": {"amount": {"$gte": 100}}}';

module.exports = async ({ watch, start }) => {
  const receiver = await start(Receiver.start());
  const daemon = await start(Daemon.start());
  const page = await watch.open(daemon);
  await page.goto("/ui/endpoints");
  await watch.inspect(page, "endpoints-none");
  await page.getByRole("link", { name: "New endpoint" }).click();
  await watch.inspect(page, "endpoint-new");
  await page.getByLabel("URL", { exact: true }).fill(receiver.url("/ok"));
  await page.getByLabel("Event types").fill("order.*");
  await page.getByLabel("Filter", { exact: true }).fill(FILTER);

  // Trying in the form saves nothing.
  await page.getByLabel("Sample type").fill("order.created");
  await page.getByLabel("Sample data, JSON").fill('{"amount": 5}');
  await page.getByRole("button", { name: "Try", exact: true }).click();
  await says(page, "order.* matches order.created");
  await says(page, "keeps the sample out at data.amount");
  await page.locator("#try:target").getByText("keeps the sample out").waitFor();
  await watch.inspect(page, "endpoint-new-tried");
  const { data } = await daemon.get("/v1/endpoints");
  if (data.length) throw new Error("a try has made an endpoint");
  await page.getByRole("button", { name: "Make the endpoint" }).first().click();
  await says(page, "The endpoint is made");
  const id = new URL(page.url()).pathname.split("/").pop();
  await watch.inspect(page, "endpoint-made");

  // The tester, with a sample that fits.
  await page.goto("/ui/try");
  await page.getByLabel("Type patterns").fill("order.*");
  await page.getByLabel("Filter").fill(FILTER);
  await page.getByLabel("or a type").fill("order.paid");
  await page.getByLabel("with data, JSON").fill('{"amount": 150}');
  await page.getByRole("button", { name: "Try", exact: true }).click();
  await says(page, "order.* matches order.paid");
  await says(page, "lets the sample through");
  await watch.inspect(page, "try");

  await page.goto(`/ui/endpoints/${id}`);
  await page.getByRole("link", { name: "Preview" }).click();
  await page.getByLabel("or a type").fill("order.paid");
  await page.getByLabel("with data, JSON").fill('{"amount": 150}');
  await page.getByRole("button", { name: "Preview" }).click();
  await says(page, "webhook-signature");
  await watch.inspect(page, "preview");

  await page.goto(`/ui/endpoints/${id}`);
  await page.getByRole("button", { name: "Diagnose" }).click();
  await says(page, "a request would get there");
  await watch.inspect(page, "diagnosis");
  await page.getByRole("button", { name: "Send a test" }).click();
  await says(page, "A test event is on its way");
  const [test] = await receiver.at("/ok");
  if (!test.body.includes("outboxd.test")) throw new Error(`another body: ${test.body}`);
  await shows(page, "delivered");

  await page.goto(`/ui/endpoints/${id}`);
  await page.getByRole("button", { name: "Show the secret" }).click();
  const shown = await page.locator("#secret").innerText();
  const { secret } = await daemon.get(`/v1/endpoints/${id}/secret`);
  if (shown !== secret) throw new Error("another secret is shown");
  // The picture is kept: it shows no real secret all the same.
  await watch.inspect(page, "secret");

  await page.goto(`/ui/endpoints/${id}`);
  await page.getByRole("button", { name: "Pause" }).click();
  await says(page, "The endpoint is paused");
  await watch.inspect(page, "endpoint-paused");
  await page.getByRole("link", { name: "Delete…" }).click();
  await watch.inspect(page, "endpoint-delete");
  await page.getByRole("button", { name: "Delete" }).click();
  await says(page, "It is deleted");
};
