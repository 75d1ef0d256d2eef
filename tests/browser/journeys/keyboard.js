// Everything is reached by keys, and what has the focus can be seen.
"use strict";

const { Daemon } = require("../daemon");
const { Receiver } = require("../receiver");
const { says } = require("../watch");

/// What has the focus, in words.
function focused(page) {
  return page.evaluate(() => {
    const one = document.activeElement;
    const style = getComputedStyle(one);
    const box = one.getBoundingClientRect();
    return {
      tag: one.tagName.toLowerCase(), id: one.id, name: one.getAttribute("name"), text: one.textContent.trim(),
      isVisible: box.width > 0 && box.right > 0 && box.bottom > 0,
      outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
    };
  });
}

function check(is, what) {
  if (!is) throw new Error(what);
}

module.exports = async ({ watch, start }) => {
  const receiver = await start(Receiver.start());
  const daemon = await start(Daemon.start());
  await daemon.endpoint({ url: receiver.url("/ok") });
  const events = [];
  for (let at = 0; at < 3; at++) events.unshift(await daemon.send("order.created", { at }));
  const page = await watch.open(daemon);
  await page.goto("/ui/events");

  // The first key goes to the link past the list of pages.
  await page.keyboard.press("Tab");
  let at = await focused(page);
  check(at.text === "Skip to the content" && at.isVisible && at.outline >= 2, `Tab goes to ${JSON.stringify(at)}`);
  await watch.inspect(page, "skip-link");
  await page.keyboard.press("Enter");
  check((await focused(page)).id === "main", "the link does not lead to the content");

  await page.keyboard.press("/");
  at = await focused(page);
  check(at.tag === "input" && at.name === "id" && at.outline >= 2, `/ goes to ${JSON.stringify(at)}`);
  // In a field keys are what is typed.
  await page.keyboard.type("j?k/");
  check(await page.locator("input[name=id]").inputValue() === "j?k/", "keys are taken from a field");
  check(!(await page.locator("#help").isVisible()), "? in a field opens the help");
  await page.keyboard.press("Escape");
  check((await focused(page)).tag === "body", "Escape does not leave a field");

  for (const [key, wanted] of [["j", 0], ["j", 1], ["j", 2], ["j", 2], ["k", 1]]) {
    await page.keyboard.press(key);
    at = await focused(page);
    check(at.text === events[wanted] && at.outline >= 2, `${key} goes to ${JSON.stringify(at)}, not to ${events[wanted]}`);
  }
  await watch.inspect(page, "row");
  await page.keyboard.press("Shift+?");
  await page.locator("#help").waitFor();
  await watch.inspect(page, "help");
  await page.keyboard.press("j");
  await page.keyboard.press("Escape");
  await page.locator("#help").waitFor({ state: "hidden" });
  at = await focused(page);
  check(at.text === events[1], `after the help the focus is at ${JSON.stringify(at)}`);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: events[1] }).waitFor();

  // Everything that takes the focus shows it, and nothing keeps it.
  for (const place of [`/ui/events/${events[1]}`, "/ui/endpoints/new", "/ui/deliveries"]) {
    await page.goto(place);
    const reached = await page.evaluate(() => document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary").length);
    for (let step = 0; step < Math.min(reached, 40); step++) {
      await page.keyboard.press("Tab");
      at = await focused(page);
      check(at.tag === "body" || (at.outline >= 2 && at.isVisible), `${place}: the focus is not seen at ${JSON.stringify(at)}`);
    }
  }
  await says(page, "order.created");
};
