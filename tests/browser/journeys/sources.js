// A source is made, tried, its secret rotated, and removed.
"use strict";

const crypto = require("node:crypto");
const { Daemon } = require("../daemon");
const { says } = require("../watch");

/// Calls the source as GitHub would, and gives the status.
async function call(daemon, secret, delivery) {
  const body = JSON.stringify({ zen: "Keep it logically awesome.", delivery });
  const signature = crypto.createHmac("sha256", secret).update(body).digest("hex");
  const answer = await fetch(`${daemon.inbound}/in/shop`, {
    method: "POST", body,
    headers: { "content-type": "application/json", "x-github-event": "ping", "x-github-delivery": delivery, "x-hub-signature-256": `sha256=${signature}` },
  });
  return answer.status;
}

module.exports = async ({ watch, start }) => {
  const daemon = await start(Daemon.start());
  const page = await watch.open(daemon);
  await page.goto("/ui/sources");
  await watch.inspect(page, "sources-none");
  await page.getByRole("link", { name: "New source" }).click();
  await watch.inspect(page, "source-new");
  await page.getByLabel("Id", { exact: true }).fill("shop");
  await page.getByLabel("Provider").fill("nobody");
  page.expected.push(400);
  await page.getByRole("button", { name: "Make the source" }).click();
  await page.locator(".field.wrong").waitFor();
  await page.getByLabel("Provider").fill("github");
  await page.getByLabel("Secrets").fill('["sesame"]');
  await page.getByRole("button", { name: "Make the source" }).click();
  await says(page, "The source is made");
  await page.getByRole("button", { name: "Hand in a sample" }).click();
  await says(page, "would be answered 2");
  await watch.inspect(page, "source-tested");

  if (await call(daemon, "sesame", "1") >= 300) throw new Error("a signed call is refused");
  if (await call(daemon, "wrong", "2") < 400) throw new Error("a forged call is let in");
  await page.goto("/ui/sources/shop");
  await says(page, "Refused last");
  await watch.inspect(page, "source");
  await page.getByLabel("New secret").fill("open-sesame");
  await page.getByRole("button", { name: "Rotate" }).click();
  await says(page, "The new secret counts from now on");
  for (const secret of ["open-sesame", "sesame"]) {
    if (await call(daemon, secret, `with ${secret}`) >= 300) throw new Error(`${secret} is refused during the overlap`);
  }
  await page.goto("/ui/sources");
  await watch.inspect(page, "sources");
  await page.getByRole("link", { name: "shop" }).click();
  await page.getByRole("link", { name: "Change", exact: true }).click();
  await watch.inspect(page, "source-edit");
  if ((await page.content()).includes("sesame")) throw new Error("the form shows a secret");
  await page.getByRole("link", { name: "Back" }).click();
  await page.getByRole("link", { name: "Remove…" }).click();
  await watch.inspect(page, "source-remove");
  await page.getByRole("button", { name: "Remove" }).click();
  await says(page, "The source is removed");
};
