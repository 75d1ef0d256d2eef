// What webhooks are delivered to. The path says what is answered: /500 answers 500, /ok 200, and
// /hang nothing at all.
"use strict";

const http = require("node:http");
const { until } = require("./until");

class Receiver {
  static async start() {
    const receiver = new Receiver();
    await new Promise((resolve) => receiver.server.listen(0, "127.0.0.1", resolve));
    return receiver;
  }

  constructor() {
    this.seen = [];
    this.server = http.createServer((request, response) => {
      const parts = [];
      request.on("data", (part) => parts.push(part));
      request.on("end", () => {
        const { pathname } = new URL(request.url, "http://localhost");
        const body = Buffer.concat(parts).toString();
        this.seen.push({ path: pathname, headers: request.headers, body });
        if (pathname === "/hang") return;
        const status = Number(pathname.slice(1, 4)) || 200;
        response.writeHead(status, { "content-type": "text/html" });
        response.end(status === 200 ? "ok" : `<b>${status}</b> <script>alert("not here")</script>`);
      });
    });
  }

  url(path) {
    return `http://127.0.0.1:${this.server.address().port}${path}`;
  }

  /// Waits until there were so many requests for the path, and gives them.
  async at(path, count = 1) {
    const these = () => this.seen.filter((one) => one.path === path);
    return until(
      `${count} requests for ${path}`,
      () => these().length >= count && these(),
      () => `(there were ${these().length})`,
    );
  }

  stop() {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(resolve));
  }
}

module.exports = { Receiver };
