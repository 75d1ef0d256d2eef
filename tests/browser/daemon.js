// The real binary in a directory of its own, and its API.
"use strict";

const { spawn, execFile } = require("node:child_process");
const fs = require("node:fs");
const http = require("node:http");
const os = require("node:os");
const path = require("node:path");
const readline = require("node:readline");
const { promisify } = require("node:util");
const { until, within, PATIENCE_MS } = require("./until");

const BINARY = process.env.OUTBOXD;

/// Those that were not stopped, for when the run is ended from outside.
const running = new Set();
process.on("exit", () => {
  for (const daemon of running) {
    daemon.child?.kill("SIGKILL");
    fs.rmSync(daemon.home, { recursive: true, force: true });
  }
});

class Daemon {
  /// Starts it and waits until it is ready. `config` are further tables; `tokens` are names of
  /// tokens of the scope admin, each of which is its own name behind "t0k-"; `listen` are further keys
  /// of that table.
  static async start({ config = "", tokens = [], listen = "" } = {}) {
    const daemon = new Daemon(fs.mkdtempSync(path.join(os.tmpdir(), "outboxd-browser-")));
    try {
      daemon.write(config, tokens, listen);
      await within("the daemon", daemon.run());
    } catch (error) {
      await daemon.stop();
      throw error;
    }
    return daemon;
  }

  constructor(home) {
    this.home = home;
    this.socket = path.join(home, "api.sock");
    this.log = [];
    running.add(this);
  }

  write(config, tokens, listen) {
    const listed = tokens.map((name) => {
      const file = path.join(this.home, name);
      fs.writeFileSync(file, `t0k-${name}-51f0c2\n`, { mode: 0o600 });
      return `{ name = "${name}", token_file = "${file}", scope = "admin" }`;
    });
    this.config = path.join(this.home, "outboxd.toml");
    const own = (table, lines) => (config.includes(`[${table}]`) ? "" : `[${table}]\n${lines}\n`);
    fs.writeFileSync(this.config, `data_dir = "${path.join(this.home, "data")}"
[listen]
http = "127.0.0.1:0"
unix = "${this.socket}"
inbound = "127.0.0.1:0"
${listen}
[log]
format = "json"
[auth]
tokens = [${listed.join(", ")}]
${own("outbox", 'segment_size = "4MiB"\ncache_size = "4MiB"')}
${own("delivery", 'allow_networks = ["127.0.0.0/8"]')}
${own("retry", 'schedule = ["10ms"]')}
${config}`);
  }

  run() {
    this.child = spawn(BINARY, ["serve", "--config", this.config], {
      cwd: this.home, env: { PATH: process.env.PATH }, stdio: ["ignore", "ignore", "pipe"],
    });
    return new Promise((resolve, reject) => {
      this.child.on("error", reject);
      this.ended = new Promise((done) => this.child.on("exit", done));
      this.ended.then(() => reject(new Error(`the daemon has ended: ${this.log.join("\n")}`)));
      readline.createInterface({ input: this.child.stderr }).on("line", (line) => {
        this.log.push(line);
        let entry = {};
        try { entry = JSON.parse(line); } catch { return; }
        if (entry.message !== "ready") return;
        const port = (list) => /127\.0\.0\.1:(\d+)/.exec(list)[1];
        this.url = `http://127.0.0.1:${port(entry.tcp)}`;
        this.inbound = `http://127.0.0.1:${port(entry.inbound)}`;
        resolve();
      });
    });
  }

  /// One request of the API, over the socket, where no token is asked for.
  call(method, where, body) {
    const text = body === undefined ? "" : JSON.stringify(body);
    return within(`${method} ${where}`, new Promise((resolve, reject) => {
      const request = http.request({
        socketPath: this.socket, method, path: where,
        headers: { host: "localhost", "content-type": "application/json", "content-length": Buffer.byteLength(text) },
      }, (response) => {
        const parts = [];
        response.on("data", (part) => parts.push(part));
        response.on("end", () => {
          const answer = Buffer.concat(parts).toString();
          if (response.statusCode >= 300) {
            reject(new Error(`${method} ${where}: ${response.statusCode} ${answer}`));
          } else {
            resolve(answer ? JSON.parse(answer) : null);
          }
        });
      });
      request.on("error", reject);
      request.end(text);
    }));
  }

  get(where) { return this.call("GET", where); }

  post(where, body) { return this.call("POST", where, body); }

  /// Makes an endpoint and gives its id.
  async endpoint(definition) { return (await this.post("/v1/endpoints", definition)).id; }

  /// Hands in an event and gives its id.
  async send(type, data, more = {}) { return (await this.post("/v1/events", { type, data, ...more })).id; }

  /// Waits until a delivery has this status.
  settled(event, endpoint, status) {
    const delivery = async () => {
      const { deliveries } = await this.get(`/v1/events/${event}`);
      return deliveries.find((one) => one.endpoint === endpoint);
    };
    return until(
      `${status} of ${event} at ${endpoint}`,
      async () => (await delivery())?.status === status,
      async () => `(it is ${JSON.stringify(await delivery())})`,
    );
  }

  /// Waits until an endpoint has so many deliveries of the status.
  backlog(endpoint, status, count) {
    const there = async () => (await this.get(`/v1/endpoints/${endpoint}`)).backlog;
    return until(
      `${count} ${status} at ${endpoint}`,
      async () => (await there())[status] === count,
      async () => JSON.stringify(await there()),
    );
  }

  /// Runs another command of the binary against this daemon, and gives what it prints.
  async command(...args) {
    const { stdout } = await promisify(execFile)(BINARY, [...args, "--url", this.url], {
      cwd: this.home, env: { PATH: process.env.PATH }, timeout: PATIENCE_MS,
    });
    return stdout;
  }

  token(name) { return `t0k-${name}-51f0c2`; }

  tokenFile(name) { return path.join(this.home, name); }

  async stop() {
    if (this.child?.exitCode === null && this.child.signalCode === null) {
      this.child.kill("SIGTERM");
      const killing = setTimeout(() => this.child.kill("SIGKILL"), 10000);
      await this.ended;
      clearTimeout(killing);
    }
    fs.rmSync(this.home, { recursive: true, force: true });
    running.delete(this);
  }
}

module.exports = { Daemon };
