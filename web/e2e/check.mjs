/**
 * Looks at a running page as a person would, and exits non-zero with a plain sentence when something is wrong.
 *
 *   node check.mjs URL SCREENSHOT.png [--timeout 60] [--dark]
 *
 * With the word `fixture` for URL it starts the fixture server itself and looks at that.
 * It waits for the live state, sees two values change, runs axe, and takes pictures: SCREENSHOT.png (1440 wide),
 * SCREENSHOT-phone.png (390 wide), with --dark also SCREENSHOT-dark.png and SCREENSHOT-phone-dark.png.
 * The last line of output is a JSON object with what it saw.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { startBrowser } from "./browser.mjs";

const DESKTOP = { width: 1440, height: 1000 };
const PHONE = { width: 390, height: 844 };
const HOOKS = [
  "now-clock", "battery-power", "grid-power", "headroom-up", "headroom-down", "energy", "soc", "coverage", "power-chart", "groups",
];
const FIGURES = ["battery-power", "grid-power", "headroom-up", "headroom-down", "energy", "soc", "coverage"];

class CheckError extends Error {}

function readArguments() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { timeout: { type: "string", default: "60" }, dark: { type: "boolean", default: false } },
  });
  const [url, picture] = positionals;
  if (!url || !picture?.endsWith(".png")) throw new CheckError("usage: check.mjs URL SCREENSHOT.png [--timeout SECONDS] [--dark]");
  return { url, picture, timeoutMs: Number(values.timeout) * 1000, dark: values.dark };
}

/** Note everything that a healthy page does not do. */
function watch(page, origin) {
  const seen = { console_errors: [], page_errors: [], failed_requests: [], external_requests: [], bytes: 0 };
  page.on("console", (message) => {
    if (message.type() === "error") seen.console_errors.push(message.text());
  });
  page.on("pageerror", (error) => seen.page_errors.push(String(error)));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && url.host !== origin.host) seen.external_requests.push(request.url());
  });
  page.on("websocket", (socket) => {
    if (new URL(socket.url()).host !== origin.host) seen.external_requests.push(socket.url());
  });
  page.on("response", (response) => {
    if (response.status() >= 400) seen.failed_requests.push(`${response.status()} ${response.url()}`);
  });
  page.on("requestfinished", async (request) => {
    const sizes = await request.sizes().catch(() => null);
    if (sizes) seen.bytes += sizes.responseBodySize + sizes.responseHeadersSize;
  });
  return seen;
}

/** The figures as text, each with its detail line, and the time that the server last said. */
function read(page) {
  return page.evaluate((ids) => {
    const element = (id) => document.querySelector(`[data-testid="${id}"]`);
    const value = (id) => element(id)?.textContent ?? null;
    return {
      clock: value("now-clock"),
      server_ms: Number(element("now-clock")?.getAttribute("data-server-ms") ?? Number.NaN),
      sentence: value("sentence"),
      figures: Object.fromEntries(ids.map((id) => [id, value(id)])),
      gate: value("gate-countdown"),
      fingerprint: ids.map((id) => element(id)?.parentElement?.textContent ?? "").join("|"),
    };
  }, FIGURES);
}

async function waitLive(page, timeoutMs) {
  const selector = '[data-testid="connection"][data-presence="live"]';
  await page.waitForSelector(selector, { timeout: timeoutMs }).catch(async () => {
    const presence = await page.getAttribute('[data-testid="connection"]', "data-presence").catch(() => null);
    throw new CheckError(`the page never went live: its connection is ${presence ?? "not shown"}`);
  });
  for (const id of HOOKS) {
    await page.waitForSelector(`[data-testid="${id}"]`, { timeout: timeoutMs }).catch(() => {
      throw new CheckError(`the page shows no ${id}`);
    });
  }
}

async function waitChange(page, before, timeoutMs) {
  const changed = async (what, argument, test) => {
    await page.waitForFunction(test, argument, { timeout: timeoutMs, polling: 200 }).catch(() => {
      throw new CheckError(`${what} did not change within ${timeoutMs / 1000} s`);
    });
  };
  await changed("the plant's clock", before.server_ms, (held) => {
    const now = Number(document.querySelector('[data-testid="now-clock"]')?.getAttribute("data-server-ms"));
    return Number.isFinite(now) && now !== held;
  });
  await changed("the figures (battery power, headroom, charge, coverage)", [before.fingerprint, FIGURES], ([held, ids]) => {
    const element = (id) => document.querySelector(`[data-testid="${id}"]`);
    return ids.map((id) => element(id)?.parentElement?.textContent ?? "").join("|") !== held;
  });
}

/** Charts must be drawn, answer to the keyboard and have a table. */
async function checkCharts(page) {
  for (const id of ["power-chart"]) {
    const chart = page.getByTestId(id);
    const drawn = await chart.locator("canvas").evaluate((canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return data.some((byte) => byte !== 0);
    });
    if (!drawn) throw new CheckError(`${id} is blank`);
    const plot = chart.getByRole("group");
    const before = await chart.locator("dl").textContent();
    await plot.focus();
    for (let i = 0; i < 6; i += 1) await page.keyboard.press("ArrowLeft");
    if ((await chart.locator("dl").textContent()) === before) throw new CheckError(`${id} does not answer to the arrow keys`);
    await page.evaluate(() => document.activeElement?.blur());
    const panel = page.locator("section", { has: chart }).last();
    const heading = await panel.getByRole("heading").first().textContent();
    const button = page.getByRole("button", { name: `${heading}: show as a table` });
    await button.click();
    const rows = await page.getByRole("region", { name: heading }).getByRole("row").count();
    if (rows < 2) throw new CheckError(`${id} has no table alternative`);
    await page.getByRole("button", { name: `${heading}: show as a chart` }).click();
  }
}

/** Groups are opened to the lowest level, keep fresh there, are found by name, and the way leads back up. */
async function checkGroups(page, timeoutMs) {
  const panel = page.getByTestId("groups");
  const rows = panel.getByRole("row");
  const open = panel.getByRole("button", { name: /^Open / });
  let levels = 1;
  while ((await open.count()) > 0 && levels < 8) {
    const name = await open.first().textContent();
    await open.first().click();
    const here = panel.locator('[aria-current="location"]').getByText(name, { exact: true });
    await here.waitFor({ timeout: timeoutMs }).catch(() => {
      throw new CheckError(`the group ${name} does not open`);
    });
    await panel.getByRole("status").getByText(/of .* groups$/).waitFor({ timeout: timeoutMs });
    levels += 1;
  }
  if (levels === 1) return levels;
  const before = await rows.allTextContents();
  await page.waitForFunction((held) => [...document.querySelectorAll('[data-testid="groups"] tr')].map((one) => one.textContent).join() !== held, before.join(), { timeout: timeoutMs }).catch(() => {
    throw new CheckError("the figures of an open group stand still");
  });
  await panel.getByRole("button", { name: "All groups" }).click();
  await panel.getByRole("searchbox").fill("feeder 3.0");
  await panel.getByRole("status").getByText("36 of 36 groups").waitFor({ timeout: timeoutMs }).catch(() => {
    throw new CheckError("a group is not found by its name");
  });
  await panel.getByRole("searchbox").fill("");
  await panel.getByRole("status").getByText("2 of 2 groups").waitFor({ timeout: timeoutMs });
  return levels;
}

async function checkLook(page, name, axeSource) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  if (wide > 0) throw new CheckError(`${name}: the page is ${wide} px wider than its window`);
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const grave = violations.filter((one) => one.impact === "serious" || one.impact === "critical");
  if (grave.length > 0) {
    const list = grave.map((one) => `${one.id}: ${one.nodes.map((node) => `${node.target.join(" ")} (${node.failureSummary?.replaceAll(/\s+/g, " ")})`).join("; ")}`);
    throw new CheckError(`${name}: axe found ${list.join("\n")}`);
  }
  return violations.map((one) => `${one.impact} ${one.id}`);
}

async function look({ url, picture, timeoutMs, dark }, browser) {
  const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  const context = await browser.newContext({ viewport: DESKTOP, locale: "en-US", colorScheme: "light", reducedMotion: "reduce" });
  const page = await context.newPage();
  const seen = watch(page, new URL(url));
  const begun = Date.now();
  await page.goto(url, { timeout: timeoutMs }).catch((error) => {
    throw new CheckError(`${url} did not open: ${error.message.split("\n")[0]}`);
  });
  await waitLive(page, timeoutMs);
  const liveAfterMs = Date.now() - begun;
  const before = await read(page);
  await waitChange(page, before, timeoutMs);
  const after = await read(page);
  await checkCharts(page);
  let levels = null;
  if (fixture) {
    levels = await checkGroups(page, timeoutMs);
  }

  const axe = {};
  const views = [["", DESKTOP, "light"], ["-phone", PHONE, "light"], ["-dark", DESKTOP, "dark"], ["-phone-dark", PHONE, "dark"]];
  const pictures = [];
  for (const [suffix, viewport, scheme] of views) {
    await page.setViewportSize(viewport);
    await page.emulateMedia({ colorScheme: scheme });
    await page.evaluate(() => {
      document.activeElement?.blur();
      window.scrollTo(0, 0);
    });
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    axe[`${viewport.width} ${scheme}`] = await checkLook(page, `${viewport.width} px, ${scheme}`, axeSource);
    if (scheme === "dark" && !dark) continue;
    const path = picture.replace(/\.png$/, `${suffix}.png`);
    await page.screenshot({ path, fullPage: true });
    pictures.push(path);
  }
  for (const kind of ["console_errors", "page_errors", "failed_requests", "external_requests"]) {
    if (seen[kind].length > 0) throw new CheckError(`${kind.replace("_", " ")}: ${seen[kind].join("; ")}`);
  }
  return {
    ok: true, url, live_after_ms: liveAfterMs, transferred_kb: Math.round(seen.bytes / 1024),
    before: { clock: before.clock, ...before.figures }, after: { clock: after.clock, ...after.figures },
    sentence: after.sentence, gate: after.gate, group_levels: levels, axe_minor: axe,
    console_errors: seen.console_errors.length, external_requests: seen.external_requests.length, pictures,
  };
}

/** Start the fixture server; returns it and its address. */
async function startFixture() {
  const server = spawn(process.execPath, [fileURLToPath(new URL("fixture-server.mjs", import.meta.url))], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await Promise.race([once(server.stdout, "data"), once(server, "exit")]);
  if (typeof line === "number" || line === null) throw new CheckError("the fixture server did not start");
  return { server, url: String(line).trim() };
}

let browser;
let fixture;
try {
  let settings = readArguments();
  if (settings.url === "fixture") {
    fixture = await startFixture();
    settings = { ...settings, url: fixture.url };
  }
  browser = await startBrowser();
  process.stdout.write(`${JSON.stringify(await look(settings, browser))}\n`);
} catch (error) {
  process.stderr.write(`${error instanceof CheckError ? error.message : error.stack}\n`);
  process.stdout.write(`${JSON.stringify({ ok: false, error: error.message })}\n`);
  process.exitCode = 1;
} finally {
  await browser?.close();
  fixture?.server.kill();
}
