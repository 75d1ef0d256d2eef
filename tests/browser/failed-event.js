// The journey of an operator at night, with a script and without one: a failed event is found, its why
// is read, the endpoint is fixed, the event is sent again and seen to arrive.
"use strict";

const { Daemon } = require("./daemon");
const { Receiver } = require("./receiver");
const { says, shows } = require("./watch");

module.exports = async ({ watch, start }, { script, name }) => {
  const receiver = await start(Receiver.start());
  const daemon = await start(Daemon.start());
  const page = await watch.open(daemon, { script });
  await page.goto("/ui/");
  await says(page, "There is no endpoint yet");
  await watch.inspect(page, `${name}-new`);
  const endpoint = await daemon.endpoint({ url: receiver.url("/500-wrong"), description: "the shop" });
  const event = await daemon.send("order.created", { id: 7, amount: 120 }, { key: "order-7" });
  await daemon.settled(event, endpoint, "dead");

  // Found on the first page, and why.
  await page.goto("/ui/");
  await says(page, "some endpoints need a look");
  await watch.inspect(page, `${name}-overview`);
  await page.getByRole("link", { name: event }).click();
  await says(page, "500");
  await says(page, "Attempt 2");
  await watch.inspect(page, `${name}-why`);

  // The endpoint is fixed in its form.
  await page.getByRole("link", { name: endpoint, exact: true }).first().click();
  await says(page, "has dead letters");
  await watch.inspect(page, `${name}-endpoint`);
  await page.getByRole("link", { name: "Change", exact: true }).click();
  await page.getByLabel("URL", { exact: true }).fill("ftp://127.0.0.1/");
  page.expected.push(400);
  // Enter saves, and tries nothing. The field with the fault has the focus.
  await page.getByLabel("URL", { exact: true }).press("Enter");
  await page.locator(".field.wrong input:focus").waitFor();
  await watch.inspect(page, `${name}-form-with-a-fault`);
  await page.getByLabel("URL", { exact: true }).fill(receiver.url("/ok"));
  await page.getByRole("button", { name: "Save" }).first().click();
  await says(page, "The change is in force");
  await says(page, receiver.url("/ok"));

  // The event is sent again from the list of the endpoint's dead deliveries, and arrives.
  await page.getByRole("link", { name: "1 dead", exact: true }).click();
  await page.getByRole("link", { name: event }).click();
  await page.getByRole("button", { name: "Retry" }).click();
  const [arrived] = await receiver.at("/ok");
  if (!arrived.body.includes('"amount":120')) throw new Error(`another body: ${arrived.body}`);
  await daemon.settled(event, endpoint, "delivered");
  await shows(page, "delivered");
  await watch.inspect(page, `${name}-delivered`);
  await page.goto(`/ui/events/${event}`);
  await says(page, "delivered");
  await page.goto("/ui/");
  await says(page, "every accepted event is being delivered");
};
