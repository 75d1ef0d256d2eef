// The watch itself: on pages with one fault each it finds that fault, and on a good one none.
"use strict";

const crypto = require("node:crypto");
const http = require("node:http");
const { Watch } = require("../watch");

const POLICY = "default-src 'none'; script-src 'self'";

/// What is wrong with a page, its main part, and what has to be found.
const PAGES = {
  good: { main: "<p>Nothing is wrong here</p>" },
  inline: { main: "<script>document.title = 'x'</script>", headers: { "content-security-policy": POLICY }, found: /CSP: script-src-elem/ },
  foreign: { main: '<img alt="x" src="http://elsewhere.example/x.png">', found: /a request to http:\/\/elsewhere\.example/ },
  console: { main: "<script>console.error('help')</script>", found: /console: help/ },
  exception: { main: "<script>throw new Error('oh')</script>", found: /exception: Error: oh/ },
  missing: { main: '<img alt="x" src="/nothing.png">', found: /\/nothing\.png: answered 404/ },
  pale: { main: '<p style="color: #ccc; background: #fff">pale</p>', found: /axe color-contrast/ },
  unlabelled: { main: "<input>", found: /axe label/ },
  wide: { main: '<p style="width: 50rem">wide</p>', found: /phone\): 8\d\d pixels wide/ },
  heavy: { main: `<p hidden>${crypto.randomBytes(100000).toString("base64").replaceAll("+", " ")}</p>`, found: /\d{5} bytes compressed/ },
};

function serve() {
  const server = http.createServer((request, response) => {
    const page = PAGES[request.url.slice(1)];
    if (!page && request.url !== "/favicon.ico") response.statusCode = 404;
    response.setHeader("content-type", "text/html; charset=utf-8");
    for (const [name, value] of Object.entries(page?.headers ?? {})) response.setHeader(name, value);
    response.end(`<!doctype html><html lang="en"><head><title>x</title><meta name="viewport" content="width=device-width"></head>
      <body style="overflow-wrap: anywhere"><main><h1>x</h1>${page?.main ?? ""}</main></body></html>`);
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve({
    url: `http://127.0.0.1:${server.address().port}`,
    stop: () => new Promise((stopped) => { server.closeAllConnections(); server.close(stopped); }),
  })));
}

module.exports = async ({ watch, start }) => {
  const server = await start(serve());
  for (const [name, { found }] of Object.entries(PAGES)) {
    const other = new Watch(watch.browser);
    try {
      const page = await other.open(server);
      await page.goto(`/${name}`);
      await other.inspect(page, `watch-${name}`);
    } finally {
      await other.close();
    }
    const isRight = found ? other.faults.some((one) => found.test(one)) : other.faults.length === 0;
    if (!isRight) {
      throw new Error(`on the page ${name} it finds ${other.faults.join("; ") || "nothing"}`);
    }
  }
};
