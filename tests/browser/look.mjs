// Opens pages in a headless Chromium and says what it saw, as JSON:
//
//   node look.mjs CHROMIUM MODULES FOLDER [--width N] [--height N] [--own ORIGIN] NAME=URL...
//
// of each page: errors (console and uncaught), requests for anything but the page itself and what
// ORIGIN has, violations that axe-core finds in light and dark (serious and critical ones), whether
// it scrolls sideways, what the Tab key reaches. A screenshot of each is FOLDER/NAME.png: of all of
// the page, or of its first N pixels (--height).

import path from "node:path";

import { focused, isSideways, opened, watched } from "./eyes.mjs";

const [chromium, modules, folder, ...rest] = process.argv.slice(2);
const options = { "--width": 1100, "--height": 0, "--own": "" };
const pages = [];
for (let i = 0; i < rest.length; i += 1) {
  if (rest[i] in options) options[rest[i]] = rest[(i += 1)];
  else pages.push(rest[i].split(/=(.*)/s).slice(0, 2));
}
const own = options["--own"];
const height = Number(options["--height"]);

const { browser, judged } = await opened(chromium, modules);
const found = {};
try {
  for (const [name, url] of pages) {
    const viewport = { width: Number(options["--width"]), height: height || 900 };
    const context = await browser.newContext({ viewport });
    const page = await context.newPage();
    const seen = watched(page, (asked) => asked === url || (own && asked.startsWith(`${own}/`)));
    await page.goto(url, { waitUntil: "load" });
    const reached = [];
    for (let i = 0; i < 12; i += 1) {
      await page.keyboard.press("Tab");
      const at = await focused(page);
      if (at) reached.push(at);
    }
    const sideways = await isSideways(page);
    const title = await page.title();
    await page.evaluate(() => { document.activeElement?.blur(); window.scrollTo(0, 0); });
    await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: !height });
    const light = await judged(page, "light");
    const dark = await judged(page, "dark");
    found[name] = {
      title, ...seen, sideways, reached,
      serious: [...light.serious, ...dark.serious],
      others: [...light.others, ...dark.others],
    };
    await context.close();
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(found));
