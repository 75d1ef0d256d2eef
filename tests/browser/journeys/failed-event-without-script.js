"use strict";

module.exports = (journey) => require("../failed-event")(journey, { script: false, name: "without-script" });
