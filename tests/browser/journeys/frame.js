// The portal in a frame of the app's own page, over HTTPS: the session's cookie is the frame's own, forms
// work, and a page of another origin is refused.
"use strict";

const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const https = require("node:https");
const os = require("node:os");
const path = require("node:path");
const { Daemon } = require("../daemon");
const { Receiver } = require("../receiver");
const { until } = require("../until");

/// A page of an app, with the portal in a frame.
class App {
  static async start(certificate) {
    const app = new App(certificate);
    await new Promise((resolve) => app.server.listen(0, "127.0.0.1", resolve));
    app.origin = `https://127.0.0.1:${app.server.address().port}`;
    return app;
  }

  constructor({ cert, key }) {
    this.framed = "about:blank";
    this.server = https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, (request, response) => {
      response.writeHead(200, { "content-type": "text/html" });
      response.end(`<!doctype html><html lang="en"><title>The app</title><link rel="icon" href="data:,"><h1>The app</h1><iframe title="Webhooks" width="1000" height="700" src="${this.framed}"></iframe>`);
    });
  }

  stop() {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(resolve));
  }
}

/// A certificate for `localhost`, and its key, in a directory of their own.
class Certificate {
  constructor() {
    this.dir = fs.mkdtempSync(path.join(os.tmpdir(), "outboxd-browser-tls-"));
    this.cert = path.join(this.dir, "cert.pem");
    this.key = path.join(this.dir, "key.pem");
    execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
      "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", this.key, "-out", this.cert],
    { stdio: "ignore" });
  }

  stop() {
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

module.exports = async ({ watch, start }) => {
  const certificate = await start(Promise.resolve(new Certificate()));
  const [app, stranger] = [await start(App.start(certificate)), await start(App.start(certificate))];
  const receiver = await start(Receiver.start());
  const daemon = await start(Daemon.start({
    listen: `inbound_cert_file = "${certificate.cert}"\ninbound_key_file = "${certificate.key}"\npublic_url = "https://localhost"`,
    config: `[portal]\nframe_ancestors = ["${app.origin}"]\n`,
  }));
  // Another site than the app's: 127.0.0.1 is not localhost.
  const portal = `https://localhost:${new URL(daemon.inbound).port}`;
  const link = async () => {
    const { url } = await daemon.post("/v1/portal/links", { tenant: "acme", capabilities: ["manage"], session: "framed" });
    return portal + url.slice(url.indexOf("/portal/"));
  };
  app.framed = await link();
  const page = await watch.open(daemon, { origins: [app.origin, portal] });
  await page.goto(`${app.origin}/`);
  const frame = page.frameLocator("iframe");
  await frame.getByRole("heading", { name: "Overview" }).waitFor();
  await frame.getByRole("link", { name: "Make an endpoint" }).click();
  await frame.getByLabel("URL", { exact: true }).fill(receiver.url("/ok"));
  await frame.getByRole("button", { name: "Make the endpoint" }).first().click();
  await frame.getByText("The endpoint is made").waitFor();
  await watch.picture(page, "frame", "light", { width: 1280, height: 900 }, "light");
  const cookies = await page.context().cookies();
  const own = cookies.filter((cookie) => cookie.domain === "localhost");
  if (own.length !== 1 || !own[0].httpOnly || !own[0].secure || own[0].sameSite !== "None" || !own[0].partitionKey) {
    throw new Error(`the session's cookie is ${JSON.stringify(own)}`);
  }
  await daemon.call("DELETE", "/v1/portal/links?tenant=acme&session=framed");
  await frame.getByRole("link", { name: "Events", exact: true }).click();
  await frame.getByRole("heading", { name: "Open a link" }).waitFor();

  // A page of somebody else shows nothing of it.
  stranger.framed = await link();
  const other = await watch.open(daemon, { origins: [stranger.origin, portal], refused: true });
  const said = [];
  other.on("console", (message) => said.push(message.text()));
  await other.goto(`${stranger.origin}/`);
  await until("the browser to refuse the frame", () => said.some((text) => /frame-ancestors/.test(text)), () => said.join("; "));
  if (await other.frameLocator("iframe").getByRole("heading", { name: "Overview" }).count()) throw new Error("a stranger's page frames the portal");
};
