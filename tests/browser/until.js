// Waiting for what has to come, with a deadline.
"use strict";

const PATIENCE_MS = 60000;
const PAUSE_MS = 25;

/// Asks again until `find` gives something, and gives that. `explain` says what was there instead.
async function until(what, find, explain = () => "") {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await find();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`waited for ${what} in vain ${await explain()}`);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

/// Fails if the promise is not settled within the time of `until`.
function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited for ${what} in vain`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

module.exports = { until, within, PATIENCE_MS };
