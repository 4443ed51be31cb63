/**
 * Runs stories of the screens in one browser against a running plant.
 *
 *   node story.mjs URL [--only alarms,dispatch] [--pictures DIR] [--docs DIR] [--timeout 20] [--hooks URL]
 *
 * A story is `web/src/screens/<name>/story.mjs` (or that of `web/src/home` or `web/src/app`) and exports
 * `{ name, as?, phone?, run(tools) }`, or a list of such; `tools` is described at `toolsFor`. Each gets a context of its own, and fails when its page
 * logs an error, asks for something from elsewhere or for something that is not there, or when axe finds anything in either theme. A story that
 * fails does not keep the others from being told. `--docs` keeps the light pictures once more, small, for the documentation. The last line of output is a JSON object with what each story took and what was wrong with it.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { startBrowser } from "./browser.mjs";

const SOURCES = resolve(dirname(fileURLToPath(import.meta.url)), "../src");
const DESKTOP = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 844 };
const MOST_NODES = 5;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export class StoryError extends Error {}

/** The stories that there are, by name. */
export async function findStories(only = []) {
  const folders = readdirSync(join(SOURCES, "screens")).map((name) => join("screens", name));
  const here = [...folders, "app", "home"].filter((folder) => existsSync(join(SOURCES, folder, "story.mjs")));
  const read = async (folder) => {
    const told = (await import(pathToFileURL(join(SOURCES, folder, "story.mjs")).href)).default;
    return [told].flat().map((story) => ({ folder, ...story }));
  };
  const found = await Promise.all(here.map(read));
  const stories = found.flat().filter((story) => only.length === 0 || only.includes(story.name));
  const missing = only.filter((name) => !stories.some((story) => story.name === name));
  if (missing.length > 0) throw new StoryError(`there is no story ${missing.join(", ")}`);
  return stories.sort((a, b) => a.name.localeCompare(b.name));
}

/** Note everything that a healthy page does not do. */
function watch(page, origin) {
  const faults = [];
  const here = (url) => ["data:", "blob:"].includes(url.protocol) || url.host === origin.host;
  page.on("console", (message) => {
    // what the plant answers with words for people (409, 422) is shown as such; the browser notes it all the same
    if (message.type() === "error" && !/status of (409|422)/.test(message.text())) faults.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`error: ${String(error)}`));
  page.on("request", (request) => {
    if (!here(new URL(request.url()))) faults.push(`asked elsewhere: ${request.url()}`);
  });
  page.on("response", (response) => {
    if (response.status() === 404) faults.push(`not there: ${response.url()}`);
  });
  return faults;
}

/** Runs in the page: lets what scrolls inside the page show all it has, since axe cannot judge what is scrolled away; returns how to undo it. */
function unrolled() {
  window.scrollTo(0, 0);
  const held = [];
  for (const element of document.body.querySelectorAll("*")) {
    const { overflowX, overflowY } = getComputedStyle(element);
    const scrolls = (overflow) => overflow === "auto" || overflow === "scroll";
    const down = scrolls(overflowY) && element.scrollHeight > element.clientHeight;
    const across = scrolls(overflowX) && element.scrollWidth > element.clientWidth;
    // rows that are drawn only where they are looked at stay as they are
    if ((!down && !across) || element.closest("dialog, [aria-rowcount]") !== null) continue;
    held.push([element, element.style.cssText]);
    Object.assign(element.style, { maxHeight: "none", overflow: "visible" });
  }
  window.rolledUp = () => held.forEach(([element, text]) => (element.style.cssText = text));
}

/** What axe finds in both themes: violations, and contrast that it could not decide. */
async function lookOver(page, name) {
  for (const theme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: theme });
    await page.waitForFunction((wanted) => document.documentElement.dataset.theme === wanted, theme);
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    await page.evaluate(AXE);
    await page.evaluate(unrolled);
    const { violations, incomplete } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations", "incomplete"] }));
    await page.evaluate(() => window.rolledUp());
    const found = [...violations, ...incomplete.filter((one) => one.id === "color-contrast")];
    if (found.length > 0) {
      const list = found.map((one) => `${one.id}: ${one.nodes.slice(0, MOST_NODES).map((node) => node.target.join(" ")).join(", ")}${one.nodes.length > MOST_NODES ? ` and ${one.nodes.length - MOST_NODES} more` : ""}`);
      throw new StoryError(`${name}, ${theme}: axe found ${list.join("; ")}`);
    }
  }
  await page.emulateMedia({ colorScheme: "light" });
}

/**
 * What a story has in hand.
 *
 * `page` of the browser; `url(hash)` the address of a screen; `open(hash)` goes there and waits until it is live; `signIn(name, password)`; `api(method,
 * path, body, headers)` asks the plant beside the page; `plant(what, ...)` asks the test that started the plant to do something to it, such as
 * `plant("stop-api")` and `plant("start-api")` (`tests/e2e/page/hooks.py` says what there is), undone after the story; `axe(name)`; `picture(name)` keeps a picture in light and dark; `until(what, test, ...)` waits for a condition in the page
 * and says `what` when it does not come; `faults` is what the page did wrong so far, a story may take out what it caused itself; `context()` opens
 * another reader beside the first.
 */
function toolsFor({ newPage, page, faults, settings, story }) {
  const { base, timeoutMs, pictures, docs, hooks } = settings;
  const url = (hash = "/") => new URL(`#${hash}`, base).href;
  const until = (what, test, argument) =>
    page.waitForFunction(test, argument, { timeout: timeoutMs, polling: 100 }).catch(() => {
      throw new StoryError(`${story.name}: ${what}`);
    });
  return {
    page, url, until, faults,
    async open(hash = "/") {
      await page.goto(url(hash), { timeout: timeoutMs });
      await page.waitForSelector('[data-testid="connection"][data-presence="live"]', { timeout: timeoutMs });
    },
    async signIn(name, password) {
      await page.goto(base.href, { timeout: timeoutMs });
      await page.getByLabel("Name").fill(name);
      await page.getByLabel("Password").fill(password);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.waitForSelector('[data-testid="user-menu"]', { timeout: timeoutMs });
    },
    async api(method, path, body, headers = {}) {
      const answer = await fetch(new URL(path.replace(/^\//, ""), base), {
        method,
        headers: { ...headers, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await answer.text();
      if (!answer.ok) throw new StoryError(`${story.name}: ${method} ${path} answered ${answer.status} ${text}`);
      return text === "" ? null : JSON.parse(text);
    },
    async plant(what, ...rest) {
      if (!hooks) throw new StoryError(`${story.name} needs a plant that can be told to ${what}: give --hooks`);
      const answer = await fetch(hooks, { method: "POST", body: JSON.stringify([what, ...rest]) });
      if (!answer.ok) throw new StoryError(`${story.name}: the plant could not ${what}: ${await answer.text()}`);
      return answer.json();
    },
    axe: (name = story.name) => lookOver(page, name),
    async picture(name = story.name) {
      if (!pictures) return;
      for (const theme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme: theme });
        await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
        await page.screenshot({ path: join(pictures, theme === "light" ? `${name}.png` : `${name}-dark.png`) });
      }
      await page.emulateMedia({ colorScheme: "light" });
      if (docs) await keepSmall(page, join(docs, `${name}.webp`));
    },
    context: () => newPage(DESKTOP),
  };
}

/** A picture for the documentation, a fifth of a PNG's size. */
async function keepSmall(page, path) {
  const tools = await page.context().newCDPSession(page);
  const { data } = await tools.send("Page.captureScreenshot", { format: "webp", quality: 82 });
  writeFileSync(path, Buffer.from(data, "base64"));
  await tools.detach();
}

/** Wait until nobody has to sign in any more: the plant notices after some seconds that the last of its people is gone. */
async function doorOpen(base) {
  for (let i = 0; i < 100; i += 1) {
    const session = await fetch(new URL("api/session", base)).then((answer) => answer.json(), () => null);
    if (session?.mode === "open") return;
    await new Promise((wake) => setTimeout(wake, 100));
  }
}

/** Tell one story in a context of its own. Throws what is wrong with it. */
async function tell(story, browser, settings) {
  const viewport = story.phone ? PHONE : DESKTOP;
  const contexts = [];
  const newPage = async (size) => {
    const context = await browser.newContext({ viewport: size, locale: "en-US", colorScheme: "light", reducedMotion: "reduce" });
    contexts.push(context);
    const page = await context.newPage();
    page.setDefaultTimeout(settings.timeoutMs);
    return page;
  };
  try {
    const page = await newPage(viewport);
    const faults = watch(page, settings.base);
    try {
      await story.run(toolsFor({ newPage, page, faults, settings, story }));
      if (faults.length > 0) throw new StoryError(`${story.name}: ${faults.join("; ")}`);
    } catch (error) {
      if (settings.pictures) await page.screenshot({ path: join(settings.pictures, `failed-${story.name}.png`) }).catch(() => undefined);
      const beside = faults.length > 0 && !(error instanceof StoryError && error.message.includes(faults[0])) ? `; the page: ${faults.join("; ")}` : "";
      throw new StoryError(`${error.message}${beside}`);
    }
  } finally {
    for (const context of contexts) await context.close().catch(() => undefined);
    // What a story did to the plant must not be the next one's trouble.
    if (settings.hooks) {
      await fetch(settings.hooks, { method: "POST", body: '["reset"]' }).catch(() => undefined);
      await doorOpen(settings.base);
    }
  }
}

/** Run stories one after the other; returns for each its name and folder, what it took in seconds, and what was wrong with it. */
export async function runStories(settings) {
  const stories = await findStories(settings.only);
  for (const kept of [settings.pictures, settings.docs]) if (kept) mkdirSync(kept, { recursive: true });
  const browser = await startBrowser();
  const told = [];
  try {
    for (const story of stories) {
      const began = Date.now();
      let fault = null;
      await tell(story, browser, settings).catch((error) => {
        fault = error.message;
      });
      const took = (Date.now() - began) / 1000;
      told.push({ name: story.name, folder: story.folder, took_s: took, fault });
      process.stderr.write(`${story.name}: ${took.toFixed(1)} s${fault === null ? "" : `, failed: ${fault}`}\n`);
    }
  } finally {
    await browser.close();
  }
  return told;
}

function readSettings() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { only: { type: "string", default: "" }, pictures: { type: "string" }, docs: { type: "string" }, timeout: { type: "string", default: "20" }, hooks: { type: "string" } },
  });
  const [address] = positionals;
  if (!address) throw new StoryError("usage: story.mjs URL [--only NAMES] [--pictures DIR [--docs DIR]] [--timeout SECONDS] [--hooks URL]");
  const only = values.only.split(",").filter(Boolean);
  return { base: new URL(address), only, pictures: values.pictures && resolve(values.pictures), docs: values.docs && resolve(values.docs), timeoutMs: Number(values.timeout) * 1000, hooks: values.hooks };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  let outcome;
  try {
    const stories = await runStories(readSettings());
    outcome = { ok: stories.length > 0 && stories.every((one) => one.fault === null), stories };
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    outcome = { ok: false, stories: [], error: error.message };
  }
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
  process.exit(outcome.ok ? 0 : 1);
}
