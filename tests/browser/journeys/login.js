// With tokens: a login is refused, one is let in and out, and a link works once.
"use strict";

const { Daemon } = require("../daemon");
const { says } = require("../watch");

module.exports = async ({ watch, start }) => {
  const daemon = await start(Daemon.start({ tokens: ["ops"] }));
  const page = await watch.open(daemon);
  await page.goto("/ui/events?type=order.*");
  await watch.inspect(page, "login");
  await page.getByLabel("Token").fill("wrong");
  page.expected.push(401);
  await page.getByRole("button", { name: "Log in" }).click();
  await says(page, "not one that is known");
  await watch.inspect(page, "login-refused");
  await page.getByLabel("Token").fill(daemon.token("ops"));
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { name: "Events" }).waitFor();
  if (!page.url().endsWith("/ui/events?type=order.*")) throw new Error(`it went on to ${page.url()}`);
  await watch.inspect(page, "logged-in");
  const kept = await page.evaluate(() => [document.cookie, Object.keys(localStorage).length, Object.keys(sessionStorage).length]);
  if (kept.join() !== ",0,0") throw new Error(`a script can read ${kept}`);
  await page.getByRole("button", { name: "Log out" }).click();
  await says(page, "You are logged out");
  await page.goto("/ui/");
  await page.getByRole("heading", { name: "Log in" }).waitFor();

  const printed = await daemon.command("login", "--token-file", daemon.tokenFile("ops"));
  const link = /http:\S+/.exec(printed)[0];
  await page.goto(link);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  if (page.url().includes("code=")) throw new Error("the code stays in the address");
  const other = await watch.open(daemon);
  other.expected.push(403);
  await other.goto(link);
  await says(other, "the link has been used");
  await watch.inspect(other, "login-used-link");
  await page.goto("/ui/status");
  await page.getByRole("heading", { name: "Status" }).waitFor();
};
