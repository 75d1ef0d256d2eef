// Runs the journeys and says what was wrong with them, and with the pages.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { launch, Watch } = require("./watch");

const DIR = path.join(__dirname, "journeys");
/// Journeys that run side by side, `pages` among the first, which takes longest: each waits for its daemon and its pages most of the time.
const AT_ONCE = 3;

/// What a journey starts, stopped in the reverse order.
class Started {
  constructor() { this.all = []; }

  async add(promise) {
    const one = await promise;
    this.all.push(one);
    return one;
  }

  async stop() {
    for (const one of this.all.splice(0).reverse()) await one.stop();
  }
}

/// Runs a journey, says how it went, and gives what it watched.
async function run(name, browser) {
  const started = new Started();
  const watch = new Watch(browser);
  const from = Date.now();
  try {
    await require(path.join(DIR, name))({ watch, start: (promise) => started.add(promise) });
  } catch (error) {
    for (const page of watch.pages()) {
      watch.fault(name, `it was at ${page.url()}`);
      const file = path.join(process.env.SCREENS, `FAILED-${name}.png`);
      await page.screenshot({ path: file, fullPage: true }).catch(() => {});
    }
    watch.fault(name, error.stack);
  }
  for (const ended of await Promise.allSettled([watch.close(), started.stop()])) {
    if (ended.status === "rejected") watch.fault(name, ended.reason.message.slice(0, 300));
  }
  console.log(`${watch.faults.length ? "FAILED" : "ok"} ${name} (${((Date.now() - from) / 1000).toFixed(1)} s)`);
  for (const fault of watch.faults) console.log(`    ${fault}`);
  return watch;
}

async function main(wanted) {
  fs.mkdirSync(process.env.SCREENS, { recursive: true });
  const all = fs.readdirSync(DIR).filter((file) => file.endsWith(".js")).map((file) => file.slice(0, -3)).sort().reverse();
  const unknown = wanted.filter((name) => !all.includes(name));
  if (unknown.length) throw new Error(`there is no journey ${unknown.join(", ")}`);
  const waiting = wanted.length ? wanted : all;
  const watched = [];
  const browser = await launch();
  const work = async () => {
    for (let name = waiting.shift(); name; name = waiting.shift()) watched.push(await run(name, browser));
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  } finally {
    await browser.close();
  }
  const inspected = watched.flatMap((watch) => watch.inspected);
  const heaviest = Math.max(0, ...inspected.map((one) => one.bytes));
  const faults = watched.reduce((sum, watch) => sum + watch.faults.length, 0);
  console.log(`${inspected.length} pages looked at, the heaviest with ${heaviest} bytes compressed; ${faults} faults`);
  process.exitCode = faults ? 1 : 0;
}

process.on("SIGTERM", () => {
  console.error("browser: ended from outside, or out of time (BROWSER_TIMEOUT)");
  process.exit(1);
});

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
