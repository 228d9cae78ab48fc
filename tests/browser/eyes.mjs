// What look.mjs and walk.mjs share: a headless Chromium, and what is seen of a page in it.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const SERIOUS = ["serious", "critical"];

// A browser, and a function that says what axe-core finds on a page in a colour scheme.
export const opened = async (chromium, modules) => {
  const require = createRequire(path.join(modules, "index.js"));
  const { chromium: browserType } = require("playwright-core");
  const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
  const browser = await browserType.launch({
    executablePath: chromium,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ],
  });
  const judged = async (page, colorScheme) => {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(axe); // not a script of the page: its content security policy stays
    const found = await page.evaluate(async () => {
      const answer = await window.axe.run(document, { resultTypes: ["violations"] });
      return answer.violations.map((one) => ({
        id: one.id, impact: one.impact, help: one.help,
        where: one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)),
      }));
    });
    return {
      serious: found.filter((one) => SERIOUS.includes(one.impact)),
      others: found.filter((one) => !SERIOUS.includes(one.impact)),
    };
  };
  return { browser, judged };
};

// What a page complains of, and what it asks for beside itself, from now on.
export const watched = (page, isOwn) => {
  const seen = { errors: [], requests: [] };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) seen.errors.push(message.text());
  });
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("request", (request) => {
    const asked = request.url();
    const inside = asked.startsWith("data:") || asked.startsWith("blob:");
    if (!inside && !isOwn(asked)) seen.requests.push(asked);
  });
  return seen;
};

// What the keyboard's focus is on, in words.
export const focused = (page) => page.evaluate(() => {
  const one = document.activeElement;
  if (!one || one === document.body) return "";
  const name = one.getAttribute("aria-label") || one.textContent.trim() || one.id;
  return `${one.tagName} ${name}`.slice(0, 80);
});

export const isSideways = (page) => page.evaluate(
  () => document.documentElement.scrollWidth > document.documentElement.clientWidth,
);
