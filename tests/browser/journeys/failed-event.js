"use strict";

module.exports = (journey) => require("../failed-event")(journey, { script: true, name: "failed-event" });
