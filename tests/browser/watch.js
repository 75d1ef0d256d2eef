// A browser whose every step is watched. On each page that a journey looks at:
//
// - axe-core finds nothing serious or critical, in light and in dark (with a script only: it is one)
// - nothing scrolls sideways on a phone of 360 pixels
// - the page with its assets is at most 60 KB compressed
//
// and at any time: nothing on the console, no violation of the Content Security Policy, no exception
// of a script, no request to another origin than the daemon's, no status that was not expected.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const zlib = require("node:zlib");
const { chromium } = require("playwright-core");
const { until, within, PATIENCE_MS } = require("./until");

const SCREENS = process.env.SCREENS;
const MOST_BYTES = 60 * 1024;
const DESK = { width: 1280, height: 800 };
const PHONE = { width: 360, height: 740 };
const AXE = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const GRAVE = ["serious", "critical"];

/// Starts the browser. What it could ask of the world by itself is turned off.
function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM,
    // Root has no sandbox, and what is shown is the daemon's own.
    chromiumSandbox: process.getuid() !== 0,
    args: ["--disable-background-networking", "--disable-component-update", "--disable-sync",
      "--no-first-run", "--no-proxy-server",
      "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"],
  });
}

class Watch {
  constructor(browser) {
    this.browser = browser;
    this.faults = [];
    this.inspected = [];
    this.contexts = [];
  }

  pages() {
    return this.contexts.flatMap((context) => context.pages());
  }

  fault(where, what) {
    this.faults.push(`${where}: ${what}`);
  }

  /// A window on the daemon's pages, with no cookies. `origins`: those of other pages that may be
  /// asked. `refused`: what it loads is expected to fail, and nothing on the console is a fault.
  async open(daemon, { script = true, origins = [], refused = false } = {}) {
    const context = await this.browser.newContext({
      baseURL: daemon.url, javaScriptEnabled: script, viewport: DESK, colorScheme: "light",
      reducedMotion: "reduce",
      // The certificates of tests are nobody's.
      ignoreHTTPSErrors: true,
    });
    this.contexts.push(context);
    context.setDefaultTimeout(PATIENCE_MS);
    await context.route("**/*", (route) => {
      const url = route.request().url();
      if ([daemon.url, ...origins].includes(new URL(url).origin)) return route.continue();
      this.fault("network", `a request to ${url}`);
      return route.abort();
    });
    await context.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => {
        console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
      });
    });
    const page = await context.newPage();
    if (!refused) this.follow(page, script);
    return page;
  }

  follow(page, hasScript) {
    const assets = new Map();
    page.expected = [];
    page.hasScript = hasScript;
    page.bytes = () => this.weight(page, assets);
    page.on("console", (message) => {
      const text = message.text();
      // A page with another status than 200 is an error to the console; see below.
      if (/Failed to load resource: the server responded/.test(text)) return;
      if (["error", "warning"].includes(message.type())) this.fault(page.url(), `console: ${text}`);
    });
    page.on("pageerror", (error) => this.fault(page.url(), `exception: ${error}`));
    page.on("response", (response) => {
      const url = new URL(response.url());
      if (/^\/(ui|portal)\/assets\//.test(url.pathname)) {
        // A page that goes on before its assets have come takes them away.
        response.body().then((body) => assets.set(url.pathname, zlib.gzipSync(body).length), () => {});
      }
      if (response.status() < 400) return;
      const at = page.expected.indexOf(response.status());
      if (at < 0) this.fault(url.pathname, `answered ${response.status()}`);
      else page.expected.splice(at, 1);
    });
    page.on("requestfailed", (request) => {
      const why = request.failure()?.errorText ?? "";
      if (why !== "net::ERR_ABORTED") this.fault(request.url(), `failed: ${why}`);
    });
  }

  async weight(page, assets) {
    const linked = await page.evaluate(() => [...document.querySelectorAll("link[href], script[src], img[src]")]
      .map((one) => new URL(one.href || one.src).pathname));
    const unique = [...new Set(linked)];
    const own = zlib.gzipSync(await page.content()).length;
    const sizes = await Promise.all(unique.map(async (one) => {
      if (!assets.has(one)) {
        const answer = await page.request.get(one);
        assets.set(one, zlib.gzipSync(await answer.body()).length);
      }
      return assets.get(one);
    }));
    return sizes.reduce((sum, one) => sum + one, own);
  }

  /// Judges the page that is shown, and keeps it in pictures under the name.
  async inspect(page, name) {
    if (this.inspected.some((one) => one.name === name)) return;
    const entry = { name, url: new URL(page.url()).pathname };
    this.inspected.push(entry);
    entry.bytes = await page.bytes();
    if (entry.bytes > MOST_BYTES) this.fault(name, `${entry.bytes} bytes compressed`);
    await this.picture(page, name, "dark", DESK, "dark");
    await this.judge(page, `${name} (dark)`);
    await this.picture(page, name, "light", DESK, "light");
    // Colours do not depend on the width, but what scrolls does.
    await this.picture(page, name, "phone", PHONE, "light");
    await this.judge(page, `${name} (light, phone)`);
    const wide = await page.evaluate(() => {
      const most = document.documentElement.clientWidth;
      const isCut = (one) => one.parentElement && (getComputedStyle(one.parentElement).overflowX !== "visible" || isCut(one.parentElement));
      if (document.documentElement.scrollWidth <= most) return null;
      const beyond = [...document.body.querySelectorAll("*")].filter((one) => one.getBoundingClientRect().right > most + 1 && !isCut(one));
      return `${document.documentElement.scrollWidth} pixels wide: ${beyond.slice(0, 3).map((one) => one.outerHTML.slice(0, 120)).join(" | ")}`;
    });
    if (wide) this.fault(`${name} (phone)`, wide);
    await page.setViewportSize(DESK);
  }

  async picture(page, name, kind, size, scheme) {
    await page.setViewportSize(size);
    await page.emulateMedia({ colorScheme: scheme });
    await page.screenshot({ path: path.join(SCREENS, `${name}-${kind}.png`), fullPage: true });
  }

  /// Has axe-core judge the page.
  async judge(page, where) {
    if (!page.hasScript) return;
    const run = async (most) => {
      // Without `preload` it asks for no style sheets by itself.
      const { violations } = await globalThis.axe.run(document, { preload: false, resultTypes: ["violations"] });
      return violations.filter((one) => most.includes(one.impact)).map((one) =>
        `axe ${one.id} (${one.impact}): ${one.nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.any[0]?.message ?? ""}`).join(" | ")}`);
    };
    if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(AXE);
    const found = await within(`axe at ${page.url()}`, page.evaluate(run, GRAVE));
    for (const one of found) this.fault(where, one);
  }

  async close() {
    for (const context of this.contexts.splice(0)) await context.close();
  }
}

/// Loads the page again until it shows the text.
async function shows(page, text) {
  const main = page.locator("main");
  await until(`“${text}” at ${page.url()}`, async () => {
    if ((await main.innerText()).includes(text)) return true;
    await page.reload();
    return false;
  }, async () => `(it shows ${await main.innerText()})`);
}

/// The page's main part has the text, now or once it has been loaded.
async function says(page, text) {
  await page.locator("main", { hasText: text }).waitFor();
}

module.exports = { launch, Watch, shows, says };
