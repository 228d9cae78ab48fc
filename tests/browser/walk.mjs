// Goes through the service's pages by keyboard alone, and says what it saw, as JSON:
//
//   node walk.mjs CHROMIUM MODULES FOLDER ORIGIN TOKEN JOB scripts|plain watch|cancel
//
// sign in, list, the running job, its certificate, report and files. With scripts the job's page is
// left alone until it has shown the end by itself; without, it is loaded again until then. Of each
// page: errors, requests to anything but ORIGIN, whether it scrolls sideways, and with scripts what
// axe-core finds in light and dark; a picture in FOLDER. With `cancel` the job is cancelled, and that is the end.

import path from "node:path";

import { focused, isSideways, opened, watched } from "./eyes.mjs";

const [chromium, modules, folder, origin, token, job, mode, act] = process.argv.slice(2);
const scripts = mode === "scripts";
const PATIENCE_MS = 120_000;

const { browser, judged } = await opened(chromium, modules);
const steps = {};
const context = await browser.newContext({
  viewport: { width: 1100, height: 900 }, javaScriptEnabled: scripts,
});
const page = await context.newPage();
const seen = watched(page, (asked) => asked.startsWith(`${origin}/`));

const look = async (name) => {
  const facts = { url: page.url().slice(origin.length), title: await page.title() };
  await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
  facts.sideways = await isSideways(page);
  facts.headings = await page.locator("h1, h2, h3").evaluateAll(
    (all) => all.map((one) => Number(one.tagName.slice(1))),
  );
  // axe-core waits for timers, which a page without scripts has none of
  const schemes = scripts ? ["light", "dark"] : [];
  facts.judged = [];
  for (const scheme of schemes) facts.judged.push(await judged(page, scheme));
  facts.serious = facts.judged.flatMap((one) => one.serious);
  facts.errors = seen.errors.splice(0);
  facts.requests = seen.requests.splice(0);
  steps[name] = facts;
};

// Presses Tab until the focus is on what begins with these words, and says how often that was.
const tabTo = async (words) => {
  for (let presses = 1; presses <= 60; presses += 1) {
    await page.keyboard.press("Tab");
    if ((await focused(page)).startsWith(words)) return presses;
  }
  throw new Error(`the Tab key never reaches ${words} on ${page.url()}`);
};

const entered = async (pattern) => {
  await Promise.all([page.waitForURL(pattern), page.keyboard.press("Enter")]);
};

const trials = () => page.locator("#trials tr th").count();
const certificate = page.locator("#verdict a");

const signIn = async () => {
  await page.goto(`${origin}/jobs/${job}`, { waitUntil: "load" });
  await look("sign-in");
  if (!(await focused(page)).startsWith("INPUT")) await tabTo("INPUT");
  await page.keyboard.type("optikit_not-a-token");
  await entered("**/sign-in");
  steps.refused = { words: await page.locator("#problem").textContent() };
  seen.errors.splice(0); // Chromium names the status 401 of the refusal on its console
  if (!(await focused(page)).startsWith("INPUT")) await tabTo("INPUT");
  await page.keyboard.type(token);
  await entered(`**/jobs/${job}`);
};

const cancel = async () => {
  await tabTo("SUMMARY Cancel");
  await page.keyboard.press("Enter");
  await tabTo("BUTTON Yes");
  await entered(`**/jobs/${job}`);
  steps.cancelled = { url: page.url().slice(origin.length) };
};

// What the focus was on while the page changed, from the job's last trials to its end.
const watch = async () => {
  const began = await trials();
  if (scripts) {
    await tabTo("DIV Trials that ended");
    const before = await focused(page);
    await page.waitForFunction(
      (count) => document.querySelectorAll("#trials tr th").length > count, began,
      { timeout: PATIENCE_MS },
    );
    const after = await focused(page);
    await certificate.waitFor({ timeout: PATIENCE_MS });
    return { began, before, after, end: await focused(page) };
  }
  const until = Date.now() + PATIENCE_MS;
  while (Date.now() < until && !(await certificate.count())) {
    await new Promise((resolve) => { setTimeout(resolve, 1000); });
    await page.goto(`${origin}/jobs/${job}`, { waitUntil: "load" });
  }
  return { began };
};

const walk = async () => {
  await page.goto(`${origin}/`, { waitUntil: "load" });
  await look("list");
  await page.evaluate(() => document.activeElement?.blur());
  await tabTo(`A ${job}`);
  await entered(`**/jobs/${job}`);
  await look("running");
  steps.held = { ...(await watch()), ended: await trials() };
  await look("ended");

  await page.evaluate(() => document.activeElement?.blur());
  await tabTo("A The certificate");
  await entered("**/certificate");
  await look("certificate");
  await tabTo("A Report");
  await entered("**/report");
  await look("report");
  await tabTo("A Back to");
  await entered(`**/jobs/${job}`);
  await tabTo("A Files");
  await entered("**/files");
  await look("files");
  await tabTo("A bundle/certificate.json");
  await entered("**/certificate.json");
  steps.file = { text: (await page.content()).slice(0, 400) };
  await page.goto(`${origin}/jobs`, { waitUntil: "load" });
  await tabTo("BUTTON Sign out");
  await entered("**/sign-in");
  const cookies = await context.cookies();
  await page.goto(`${origin}/jobs`, { waitUntil: "load" });
  steps.out = { url: page.url().slice(origin.length), cookies: cookies.length };
};

try {
  await signIn();
  await (act === "cancel" ? cancel() : walk());
} finally {
  await browser.close();
}
console.log(JSON.stringify(steps));
