// Opens pages in a headless Chromium and says what it saw, as JSON:
//
//   node look.mjs CHROMIUM MODULES FOLDER [--width N] NAME=URL...
//
// of each page: errors (console and uncaught), requests that leave what was opened, violations that
// axe-core finds (serious and critical ones), whether it scrolls sideways, what the Tab key reaches.
// A screenshot of each is FOLDER/NAME.png.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const [chromium, modules, folder, ...rest] = process.argv.slice(2);
const require = createRequire(path.join(modules, "index.js"));
const { chromium: browserType } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const pages = [];
const options = { width: 1100 };
for (let i = 0; i < rest.length; i += 1) {
  if (rest[i] === "--width") options.width = Number(rest[(i += 1)]);
  else pages.push(rest[i].split(/=(.*)/s).slice(0, 2));
}

const browser = await browserType.launch({
  executablePath: chromium,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
const found = {};
try {
  for (const [name, url] of pages) {
    const context = await browser.newContext({
      viewport: { width: options.width, height: 900 },
    });
    const page = await context.newPage();
    const errors = [];
    const requests = [];
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) errors.push(message.text());
    });
    page.on("pageerror", (error) => errors.push(String(error)));
    page.on("request", (request) => {
      const asked = request.url();
      const own = asked === url || asked.startsWith("data:") || asked.startsWith("blob:");
      if (!own) requests.push(asked);
    });
    await page.goto(url, { waitUntil: "load" });
    const reached = [];
    for (let i = 0; i < 12; i += 1) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate(() => {
        const one = document.activeElement;
        return one && one !== document.body ? `${one.tagName} ${one.textContent.trim()}` : "";
      });
      if (at) reached.push(at.slice(0, 60));
    }
    const sideways = await page.evaluate(
      () => document.documentElement.scrollWidth > document.documentElement.clientWidth,
    );
    const title = await page.title();
    await page.evaluate(() => { document.activeElement?.blur(); window.scrollTo(0, 0); });
    await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
    await page.evaluate(axe); // not a script of the page: its content security policy stays
    const results = await page.evaluate(async () => {
      const answer = await window.axe.run(document, { resultTypes: ["violations"] });
      return answer.violations.map((one) => ({
        id: one.id, impact: one.impact, help: one.help,
        where: one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)),
      }));
    });
    found[name] = {
      title, errors, requests, sideways, reached,
      serious: results.filter((one) => ["serious", "critical"].includes(one.impact)),
      others: results.filter((one) => !["serious", "critical"].includes(one.impact)),
    };
    await context.close();
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(found));
